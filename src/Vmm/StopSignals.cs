using System.Runtime.InteropServices;

namespace Vmm;

/// <summary>SIGTERM, SIGINT, SIGHUP and SIGQUIT end the machine in good order: devices closed, terminal restored.</summary>
internal sealed class StopSignals : IDisposable
{
    private static readonly (PosixSignal Signal, int Number)[] Signals =
    [
        (PosixSignal.SIGHUP, 1),
        (PosixSignal.SIGINT, 2),
        (PosixSignal.SIGQUIT, 3),
        (PosixSignal.SIGTERM, 15),
    ];

    private readonly PosixSignalRegistration[] _registrations;

    public StopSignals(Machine machine) => _registrations =
    [
        .. Signals.Select(pair => PosixSignalRegistration.Create(pair.Signal, context =>
        {
            context.Cancel = true; // the runtime would end the process at once
            machine.End(MachineEnd.StoppedBySignal(pair.Number, pair.Signal.ToString()));
        })),
    ];

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
        {
            registration.Dispose();
        }
    }
}
