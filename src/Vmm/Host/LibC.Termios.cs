using System.Runtime.InteropServices;

namespace Vmm.Host;

// <termios.h>, <sys/ioctl.h>: what the console needs.
internal static unsafe partial class LibC
{
    public const int TCSANOW = 0;

    /// <summary>In <see cref="Termios.LocalFlags"/>: background processes that write are stopped.</summary>
    public const uint TOSTOP = 0x100;

    /// <summary>struct termios of glibc on x86-64.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Termios
    {
        public uint InputFlags;
        public uint OutputFlags;
        public uint ControlFlags;
        public uint LocalFlags;
        public byte Line;
        public fixed byte ControlCharacters[32];
        public uint InputSpeed;
        public uint OutputSpeed;
    }

    public const nuint TIOCGWINSZ = 0x5413;

    /// <summary>struct winsize.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Winsize
    {
        public ushort Rows;
        public ushort Columns;
        public ushort Width;
        public ushort Height;
    }

    [LibraryImport("libc", EntryPoint = "tcgetattr", SetLastError = true)]
    public static partial int Tcgetattr(int fd, Termios* termios);

    [LibraryImport("libc", EntryPoint = "tcsetattr", SetLastError = true)]
    public static partial int Tcsetattr(int fd, int action, Termios* termios);

    /// <returns>The process group in the foreground; -1 where the terminal is not the caller's own (ENOTTY).</returns>
    [LibraryImport("libc", EntryPoint = "tcgetpgrp", SetLastError = true)]
    public static partial int Tcgetpgrp(int fd);

    [LibraryImport("libc", EntryPoint = "getpgrp")]
    public static partial int Getpgrp();

    [LibraryImport("libc", EntryPoint = "cfmakeraw")]
    public static partial void Cfmakeraw(Termios* termios);
}
