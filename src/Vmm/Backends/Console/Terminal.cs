using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>Puts the user's terminal into raw mode for the guest's console, and back on every way out.</summary>
internal sealed unsafe class Terminal : IDisposable
{
    private readonly int _fd;
    private readonly LibC.Termios _saved;
    private readonly Lock _lock = new();
    private bool _raw;

    private Terminal(int fd, LibC.Termios saved)
    {
        _fd = fd;
        _saved = saved;
    }

    /// <summary>Null where the descriptor is no terminal.</summary>
    public static Terminal? TryOpen(int fd)
    {
        LibC.Termios now;

        // SAFETY: a struct on this stack, with the layout of glibc's termios (AbiTests).
        return LibC.IsATty(fd) == 1 && LibC.Tcgetattr(fd, &now) == 0 ? new Terminal(fd, now) : null;
    }

    public void EnterRaw()
    {
        lock (_lock)
        {
            LibC.Termios raw = _saved;
            LibC.Cfmakeraw(&raw);

            // SAFETY: as in TryOpen.
            _raw = LibC.Tcsetattr(_fd, LibC.TCSADRAIN, &raw) == 0;
            Stderr.NeedsCarriageReturns = _raw;
        }
    }

    /// <summary>Restores what was there before; any number of times, from any thread.</summary>
    public void Restore()
    {
        lock (_lock)
        {
            if (!_raw)
            {
                return;
            }

            _raw = false;
            Stderr.NeedsCarriageReturns = false;
            LibC.Termios saved = _saved;

            // SAFETY: as in TryOpen.
            _ = LibC.Tcsetattr(_fd, LibC.TCSANOW, &saved);
        }
    }

    public void Dispose() => Restore();
}
