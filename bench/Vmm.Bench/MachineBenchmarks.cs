using System.Diagnostics;
using BenchmarkDotNet.Attributes;
using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Kvm;
using Vmm.Machines;
using Vmm.Tests.Kvm;

namespace Vmm.Bench;

/// <summary>The life of a machine by its phases, twice: the parts by themselves, and the machine as a whole.</summary>
/// <remarks>As for guests, BenchmarkDotNet leads through the iterations, and the table is made of the phases.</remarks>
public class MachineBenchmarks
{
    private const ulong Memory = 128 << 20;
    private static readonly List<(string Phase, List<double> Milliseconds)> Phases = [];

    private TestGuest? _guest;
    private long _mark;
    private bool _warm;

    /// <summary>What was measured, in the order in which it happens; empties it.</summary>
    internal static IReadOnlyList<(string Phase, IReadOnlyList<double> Milliseconds)> TakePhases()
    {
        (string, IReadOnlyList<double>)[] taken =
            [.. Phases.Select(each => (each.Phase, (IReadOnlyList<double>)[.. each.Milliseconds.Order()]))];
        Phases.Clear();
        return taken;
    }

    [GlobalSetup]
    public void SetUp() => _guest = new TestGuest(code =>
    {
        code.mov(Iced.Intel.AssemblerRegisters.al, 0xfe);
        code.@out(0x64, Iced.Intel.AssemblerRegisters.al);
    });

    [GlobalCleanup]
    public void CleanUp() => _guest?.Dispose();

    [Benchmark]
    public void Live()
    {
        LiveInParts();
        LiveAsMachine();
        _warm = true;           // the first life compiles and touches what it needs
    }

    private void LiveInParts()
    {
        Begin();
        using KvmSystem kvm = KvmSystem.Open();
        KvmVm vm = kvm.CreateVm();
        Mark("part: open /dev/kvm, KVM_CREATE_VM");
        var ram = new GuestRam(Memory);
        vm.AddMemory(ram.Memory.Regions[0]);
        Mark("part: map 128 MiB, memory slot");
        vm.SetRealModePages(new GuestAddress(Layout.KvmIdentityMap), new GuestAddress(Layout.KvmTss));
        vm.CreateInterruptControllers();
        Mark("part: interrupt controllers and PIT");
        Vcpu vcpu = vm.CreateVcpu(0, ram.Memory);
        Mark("part: KVM_CREATE_VCPU");
        using (KernelImage kernel = KernelImage.Open(_guest!.Path))
        {
            KernelLoader.Load(ram.Memory, kernel, new BootRequest
            {
                CommandLine = "",
                Reserved = [],
                RngSeed = new byte[32],
            });
        }

        Mark("part: load the guest");
        vcpu.Dispose();
        vm.Dispose();
        ram.Dispose();
        Mark("part: let go of all");
    }

    private void LiveAsMachine()
    {
        Begin();
        Machine machine = Machine.Build(new MachineSpec { Kernel = _guest!.Path, Memory = Memory });
        Mark("machine: build");
        MachineEnd end = machine.Run();
        Mark("machine: first instruction, which resets, until Run is back");
        machine.Dispose();
        Mark("machine: destroy");
        if (end != MachineEnd.Reset)
        {
            throw new InvalidOperationException(end.Message ?? "the guest did not reset");
        }
    }

    private void Begin() => _mark = Stopwatch.GetTimestamp();

    private void Mark(string phase)
    {
        double milliseconds = Stopwatch.GetElapsedTime(_mark).TotalMilliseconds;
        if (_warm)
        {
            int at = Phases.FindIndex(each => each.Phase == phase);
            if (at < 0)
            {
                at = Phases.Count;
                Phases.Add((phase, []));
            }

            Phases[at].Milliseconds.Add(milliseconds);
        }

        Begin();
    }
}
