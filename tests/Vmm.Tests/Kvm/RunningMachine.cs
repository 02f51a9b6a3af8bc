using Vmm.Machines;

namespace Vmm.Tests.Kvm;

/// <summary>A machine that runs on another thread. It ends with a test that fails: its memory must not go before its vCPUs do.</summary>
internal sealed class RunningMachine(Machine machine) : IDisposable
{
    public Task<MachineEnd> Task { get; } = System.Threading.Tasks.Task.Run(machine.Run);

    public MachineEnd WaitForEnd() => Task.GetAwaiter().GetResult();

    public void Dispose()
    {
        machine.End(MachineEnd.Quit);
        Task.Wait();
    }
}
