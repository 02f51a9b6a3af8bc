using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>Sets the user's terminal to raw mode for the guest's console, and restores it however vmm ends. Only while vmm is
/// in the foreground: otherwise the terminal belongs to another program.</summary>
internal sealed unsafe class Terminal : IDisposable
{
    private readonly int _fd;
    private readonly Lock _lock = new();
    private LibC.Termios _saved;
    private bool _raw;

    private Terminal(int fd) => _fd = fd;

    /// <summary>May vmm read it and change its settings now?</summary>
    public bool IsInForeground => JobControl.IsInForeground(_fd);

    /// <summary>Null where the descriptor is no terminal.</summary>
    public static Terminal? TryOpen(int fd) => LibC.IsATty(fd) == 1 ? new Terminal(fd) : null;

    /// <summary>The terminal's size; 24 rows and 80 columns where the descriptor is no terminal, or the size is unknown.</summary>
    public static (ushort Rows, ushort Columns) SizeOf(int fd)
    {
        LibC.Winsize size;

        // SAFETY: a struct on this stack, with the layout of glibc's (LibCTests).
        return LibC.Ioctl(fd, LibC.TIOCGWINSZ, (nint)(&size)) == 0 && size.Rows != 0 && size.Columns != 0
            ? (size.Rows, size.Columns)
            : ((ushort)24, (ushort)80);
    }

    /// <summary>Enters raw mode, or enters it again where a shell has changed the settings meanwhile.</summary>
    /// <returns>False in the background: nothing was done.</returns>
    public bool Take()
    {
        lock (_lock)
        {
            if (!IsInForeground)
            {
                Stderr.NeedsCarriageReturns = false;
                return false;
            }

            LibC.Termios now;

            // SAFETY: structs on this stack, with the layout of glibc's termios (AbiTests).
            if (LibC.Tcgetattr(_fd, &now) == 0)
            {
                _saved = _raw ? _saved : now;
                LibC.Termios raw = _saved;
                LibC.Cfmakeraw(&raw);

                // Not TCSADRAIN: it waits until pending output is written, for ever if the terminal is stopped.
                _raw = LibC.Tcsetattr(_fd, LibC.TCSANOW, &raw) == 0;
                Stderr.NeedsCarriageReturns = _raw;
            }

            return true;
        }
    }

    /// <summary>Restores the saved settings; any number of times, from any thread. Does nothing in the background: the shell
    /// has set its own.</summary>
    public void Restore()
    {
        lock (_lock)
        {
            if (!_raw || !IsInForeground)
            {
                return;
            }

            _raw = false;
            Stderr.NeedsCarriageReturns = false;
            LibC.Termios saved = _saved;

            // SAFETY: as in Take.
            _ = LibC.Tcsetattr(_fd, LibC.TCSANOW, &saved);
        }
    }

    public void Dispose() => Restore();
}
