using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Boot;

namespace Vmm.Host;

// <spawn.h>, <sys/wait.h>, <sys/prctl.h>, <unistd.h>, <time.h>, <sys/sysinfo.h>.
internal static unsafe partial class LibCAdditions
{
    extension(LibC)
    {
        public static short POSIX_SPAWN_SETPGROUP => 2;

        public static short POSIX_SPAWN_SETSIGDEF => 4;

        public static short POSIX_SPAWN_SETSIGMASK => 8;

        public static short POSIX_SPAWN_SETSID => 0x80;

        public static int PR_SET_CHILD_SUBREAPER => 36;

        public static int PR_SET_NAME => 15;

        // These return the error number itself.
        [DllImport(Library)]
        public static extern int posix_spawnp(
            int* pid, byte* file, SpawnFileActions* actions, SpawnAttributes* attributes, byte** arguments, byte** environment);

        [DllImport(Library)]
        public static extern int posix_spawn_file_actions_init(SpawnFileActions* actions);

        [DllImport(Library)]
        public static extern int posix_spawn_file_actions_destroy(SpawnFileActions* actions);

        [DllImport(Library)]
        public static extern int posix_spawn_file_actions_adddup2(SpawnFileActions* actions, int from, int to);

        [DllImport(Library)]
        public static extern int posix_spawnattr_init(SpawnAttributes* attributes);

        [DllImport(Library)]
        public static extern int posix_spawnattr_destroy(SpawnAttributes* attributes);

        [DllImport(Library)]
        public static extern int posix_spawnattr_setflags(SpawnAttributes* attributes, short flags);

        [DllImport(Library)]
        public static extern int posix_spawnattr_setsigdefault(SpawnAttributes* attributes, sigset_t* signals);

        [DllImport(Library)]
        public static extern int posix_spawnattr_setsigmask(SpawnAttributes* attributes, sigset_t* signals);

        [DllImport(Library, SetLastError = true)]
        public static extern int waitpid(int pid, int* status, int options);

        // prctl is variadic. On x86-64 that makes no difference for integer arguments (System V ABI 3.5.7: only AL, the
        // number of vector registers used, is special, and glibc's prctl does not look at it).
        [DllImport(Library, SetLastError = true)]
        public static extern int prctl(int option, nuint a, nuint b, nuint c, nuint d);

        [DllImport(Library, SetLastError = true)]
        public static extern int execv(byte* path, byte** arguments);

        public static int execv(string path, byte** arguments)
        {
            using var name = new FileNameBytes(path, stackalloc byte[FileNameBytes.OnStack]);
            return execv(name.Start, arguments);
        }

        /// <summary>pidfd_open(2): readable when the process has ended. glibc has it since 2.36 only.</summary>
        public static int pidfd_open(int pid) => (int)LibC.syscall(434, pid, 0);

        /// <summary>pidfd_send_signal(2), which glibc has since 2.36, too.</summary>
        public static int pidfd_send_signal(int process, int signal) => (int)LibC.syscall(424, process, signal, 0, 0);
    }
}

/// <summary>posix_spawn_file_actions_t.</summary>
[StructLayout(LayoutKind.Sequential, Size = 80)]
internal struct SpawnFileActions
{
    public ulong First;     // for the alignment
}

/// <summary>posix_spawnattr_t.</summary>
[StructLayout(LayoutKind.Sequential, Size = 336)]
internal struct SpawnAttributes
{
    public ulong First;
}

/// <summary>struct itimerspec.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Itimerspec
{
    public timespec Interval;
    public timespec Value;
}

/// <summary>struct sysinfo.</summary>
[StructLayout(LayoutKind.Sequential, Size = 112)]
internal struct SystemInformation
{
    public long Uptime;
    public ulong Load1, Load5, Load15;
    public ulong TotalRam, FreeRam, SharedRam, BufferRam, TotalSwap, FreeSwap;
    public ushort Processes;
    public ulong TotalHigh, FreeHigh;
    public uint MemoryUnit;
}
