using Tmds.Linux;

namespace Vmm.Host;

/// <summary>Signals that are ignored: the failed system call reports the same error. Children of vmm start with the default
/// actions (<see cref="ChildProcess"/>).</summary>
internal sealed unsafe class IgnoredSignals : IDisposable
{
    private readonly List<(int Signal, sigaction Before)> _taken = [];

    public IgnoredSignals(params ReadOnlySpan<int> signals)
    {
        foreach (int signal in signals)
        {
            var action = new sigaction { sa_handler = LibC.SIG_IGN };
            sigaction before;

            // SAFETY: structs on this stack, with the layout of glibc's (LibCTests).
            ErrnoException.Check(LibC.sigaction(signal, &action, &before), "sigaction");
            _taken.Add((signal, before));
        }
    }

    /// <summary>Ignores SIGPIPE and SIGXFSZ for the life of the process: writing to a closed pipe gives EPIPE, writing past the file
    /// size limit (<c>ulimit -f</c>) EFBIG.</summary>
    public static void IgnoreResourceSignals() => _ = new IgnoredSignals(LibC.SIGPIPE, LibC.SIGXFSZ);

    /// <summary>Restores the signals' former actions.</summary>
    public void Dispose()
    {
        foreach ((int signal, sigaction before) in _taken)
        {
            sigaction action = before;
            _ = LibC.sigaction(signal, &action, null);
        }

        _taken.Clear();
    }
}
