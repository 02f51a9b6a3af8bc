using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>Sets the user's terminal to raw mode for the guest's console, and restores it however vmm ends. Only while vmm is
/// in the foreground: otherwise the terminal belongs to another program.</summary>
internal sealed unsafe class Terminal : IDisposable
{
    private readonly int _fd;
    private readonly Lock _lock = new();
    private termios _saved;
    private bool _raw;

    private Terminal(int fd) => _fd = fd;

    /// <summary>May vmm read it and change its settings now?</summary>
    public bool IsInForeground => JobControl.IsInForeground(_fd);

    /// <summary>Null where the descriptor is no terminal.</summary>
    public static Terminal? TryOpen(int fd) => LibC.isatty(fd) == 1 ? new Terminal(fd) : null;

    /// <summary>The terminal's size; 24 rows and 80 columns where the descriptor is no terminal, or the size is unknown.</summary>
    public static (ushort Rows, ushort Columns) SizeOf(int fd)
    {
        winsize size;

        // SAFETY: a struct on this stack, with the layout of glibc's (LibCTests).
        return LibC.ioctl(fd, LibC.TIOCGWINSZ, &size) == 0 && size.ws_row != 0 && size.ws_col != 0
            ? (size.ws_row, size.ws_col)
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

            termios now;

            // SAFETY: structs on this stack, with the layout of glibc's termios (LibCTests).
            if (LibC.tcgetattr(_fd, &now) == 0)
            {
                _saved = _raw ? _saved : now;
                termios raw = _saved;
                LibC.cfmakeraw(&raw);

                // Not TCSADRAIN: it waits until pending output is written, for ever if the terminal is stopped.
                _raw = LibC.tcsetattr(_fd, (int)LibC.TCSANOW, &raw) == 0;
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
            termios saved = _saved;

            // SAFETY: as in Take.
            _ = LibC.tcsetattr(_fd, (int)LibC.TCSANOW, &saved);
        }
    }

    public void Dispose() => Restore();
}
