using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Guest.Tests.Harness;

/// <summary>A pseudo-terminal (pty(7)): the test has the master's side, a program gets the other as its
/// terminal.</summary>
internal sealed unsafe partial class PseudoTerminal : IDisposable
{
    private readonly int _master;
    private int _slave;

    public PseudoTerminal()
    {
        _master = Checked(OpenMaster(LibC.O_RDWR | LibC.O_NOCTTY | LibC.O_CLOEXEC), "posix_openpt");
        _ = Checked(Grant(_master), "grantpt");
        _ = Checked(Unlock(_master), "unlockpt");
        Path = NameOf(_master);

        // Held open, so that the terminal lives on when the program has ended.
        _slave = Checked(LibC.open(Path, LibC.O_RDWR | LibC.O_NOCTTY | LibC.O_CLOEXEC, 0), Path);
    }

    /// <summary><c>/dev/pts/N</c>.</summary>
    public string Path { get; }

    /// <summary>All settings of the terminal (tcgetattr), as text that can be compared and read.</summary>
    public string Settings
    {
        get
        {
            termios now;

            // SAFETY: a struct on this stack, with the layout of glibc's termios.
            _ = Checked(LibC.tcgetattr(_slave, &now), "tcgetattr");
            string characters = Convert.ToHexString(new ReadOnlySpan<byte>(now.c_cc, 32));
            return $"input {now.c_iflag:x} output {now.c_oflag:x} control {now.c_cflag:x} "
                + $"local {now.c_lflag:x} line {now.c_line} characters {characters}";
        }
    }

    public void Write(string text)
    {
        byte[] bytes = Encoding.Latin1.GetBytes(text);
        for (int done = 0; done < bytes.Length;)
        {
            fixed (byte* start = &bytes[done])
            {
                // SAFETY: the rest of the array, which is pinned.
                done += Checked((int)LibC.write(_master, start, bytes.Length - done), "write");
            }
        }
    }

    public void Resize(ushort rows, ushort columns)
    {
        var size = new winsize { ws_row = rows, ws_col = columns };

        // SAFETY: a struct on this stack, with the layout of glibc's.
        _ = Checked(LibC.ioctl(_master, LibC.TIOCSWINSZ, &size), "ioctl(TIOCSWINSZ)");
    }

    /// <summary>Waits for output; 0 when the program and this object have closed the other side.</summary>
    public int Read(byte[] buffer)
    {
        fixed (byte* start = buffer)
        {
            // SAFETY: the whole array, which is pinned. Errors (EIO at the end) are the end.
            return (int)Math.Max(0L, LibC.read(_master, start, buffer.Length));
        }
    }

    /// <summary>The program has ended: let <see cref="Read"/> come to an end.</summary>
    public void HangUp()
    {
        if (_slave >= 0)
        {
            _ = LibC.close(_slave);
            _slave = -1;
        }
    }

    public void Dispose()
    {
        HangUp();
        _ = LibC.close(_master);
    }

    private static string NameOf(int master)
    {
        const int Room = 64;
        byte* name = stackalloc byte[Room];

        // SAFETY: a buffer of that length on this stack.
        return PtsName(master, name, Room) == 0
            ? Marshal.PtrToStringUTF8((nint)name)!
            : throw new InvalidOperationException("ptsname_r failed");
    }

    private static int Checked(int result, string call) => result >= 0
        ? result
        : throw new InvalidOperationException($"{call}: errno {Marshal.GetLastPInvokeError()}");

    [LibraryImport("libc", EntryPoint = "posix_openpt", SetLastError = true)]
    private static partial int OpenMaster(int flags);

    [LibraryImport("libc", EntryPoint = "grantpt", SetLastError = true)]
    private static partial int Grant(int master);

    [LibraryImport("libc", EntryPoint = "unlockpt", SetLastError = true)]
    private static partial int Unlock(int master);

    [LibraryImport("libc", EntryPoint = "ptsname_r", SetLastError = true)]
    private static partial int PtsName(int master, byte* name, nuint room);
}
