using System.Runtime.InteropServices;

namespace Vmm;

/// <summary>SIGTERM presses the guest's power button, so that it shuts down by itself; again, or where no guest listens,
/// it ends the machine, as SIGINT, SIGHUP and SIGQUIT do: in good order, devices closed, terminal restored.</summary>
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
            MachineEnd end = MachineEnd.StoppedBySignal(pair.Number, pair.Signal.ToString());
            if (pair.Signal == PosixSignal.SIGTERM)
            {
                machine.PressPowerButton(otherwise: end);
            }
            else
            {
                machine.End(end);
            }
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
