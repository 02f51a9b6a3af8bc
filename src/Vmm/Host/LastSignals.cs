using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>Signals that come after a machine's end, while vmm closes its disks, removes its sockets and writes down how it ended: they end
/// vmm only if that takes long. Who stops a machine often sends more than one: timeout(1), two commands at once, a service manager that
/// signals the whole group.</summary>
internal static unsafe class LastSignals
{
    private const string Library = "vmmnative";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>From now on it is these handlers that a <see cref="SignalPipe"/> puts back. Until <see cref="Hold"/> they do what signals do
    /// by default.</summary>
    public static void Take()
    {
        void* handler = vmm_held_signal_handler();
        foreach (int signal in (ReadOnlySpan<int>)[LibC.SIGHUP, LibC.SIGINT, LibC.SIGQUIT, LibC.SIGTERM, LibC.SIGXCPU])
        {
            sigaction before;

            // SAFETY: structs on this stack, with the layout of glibc's (LibCTests).
            ErrnoException.Check(LibC.sigaction(signal, null, &before), "sigaction");
            if (before.sa_handler == LibC.SIG_DFL)
            {
                var action = new sigaction { sa_handler = handler, sa_flags = LibC.SA_RESTART };
                ErrnoException.Check(LibC.sigaction(signal, &action, null), "sigaction");
            }
        }
    }

    /// <summary>The machine has ended. While its <see cref="SignalPipe"/> is still there, so that there is no gap.</summary>
    public static void Hold() => vmm_hold_signals(MonotonicClock.Now() + (long)Patience.TotalNanoseconds);

    /// <summary>A machine begins, which hears them itself.</summary>
    public static void Release() => vmm_hold_signals(0);

    [DllImport(Library)]
    private static extern void* vmm_held_signal_handler();

    [DllImport(Library)]
    private static extern void vmm_hold_signals(long until);
}
