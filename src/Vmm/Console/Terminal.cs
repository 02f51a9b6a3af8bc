using Vmm.Host;

namespace Vmm.Console;

/// <summary>Puts the user's terminal into raw mode for the guest's console, and back on every way out.</summary>
internal sealed unsafe class Terminal : IDisposable
{
    // c_oflag of <termios.h>: keep the newline translation, so that what vmm itself says does not run down in stairs.
    private const uint OPOST = 1;
    private const uint ONLCR = 4;

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
            raw.OutputFlags |= OPOST | ONLCR;

            // SAFETY: as in TryOpen.
            _raw = LibC.Tcsetattr(_fd, LibC.TCSADRAIN, &raw) == 0;
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
            LibC.Termios saved = _saved;

            // SAFETY: as in TryOpen.
            _ = LibC.Tcsetattr(_fd, LibC.TCSANOW, &saved);
        }
    }

    public void Dispose() => Restore();
}
