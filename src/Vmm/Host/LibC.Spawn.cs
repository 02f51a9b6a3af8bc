using System.Runtime.InteropServices;

namespace Vmm.Host;

// <spawn.h>, <sys/wait.h>, <sys/prctl.h>. Sizes are proved by LibCTests.
internal static unsafe partial class LibC
{
    public const short POSIX_SPAWN_SETPGROUP = 2;
    public const short POSIX_SPAWN_SETSIGDEF = 4;
    public const short POSIX_SPAWN_SETSIGMASK = 8;
    public const short POSIX_SPAWN_SETSID = 0x80;

    public const int PR_SET_CHILD_SUBREAPER = 36;
    public const int SIGKILL = 9;
    public const int WNOHANG = 1;

    /// <summary>posix_spawn_file_actions_t.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 80)]
    public struct SpawnFileActions
    {
        public ulong First;     // for the alignment
    }

    /// <summary>posix_spawnattr_t.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 336)]
    public struct SpawnAttributes
    {
        public ulong First;
    }

    // These return the error number itself.
    [LibraryImport("libc", EntryPoint = "posix_spawnp", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int PosixSpawnp(
        out int pid, string file, SpawnFileActions* actions, SpawnAttributes* attributes, byte** arguments, byte** environment);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_init")]
    public static partial int SpawnFileActionsInit(SpawnFileActions* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_destroy")]
    public static partial int SpawnFileActionsDestroy(SpawnFileActions* actions);

    [LibraryImport("libc", EntryPoint = "posix_spawn_file_actions_adddup2")]
    public static partial int SpawnFileActionsAddDup2(SpawnFileActions* actions, int from, int to);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_init")]
    public static partial int SpawnAttributesInit(SpawnAttributes* attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_destroy")]
    public static partial int SpawnAttributesDestroy(SpawnAttributes* attributes);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setflags")]
    public static partial int SpawnAttributesSetFlags(SpawnAttributes* attributes, short flags);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigdefault")]
    public static partial int SpawnAttributesSetSigdefault(SpawnAttributes* attributes, Sigset* signals);

    [LibraryImport("libc", EntryPoint = "posix_spawnattr_setsigmask")]
    public static partial int SpawnAttributesSetSigmask(SpawnAttributes* attributes, Sigset* signals);

    [LibraryImport("libc", EntryPoint = "waitpid", SetLastError = true)]
    public static partial int Waitpid(int pid, out int status, int options);

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    public static partial int Kill(int pid, int signal);

    // prctl is variadic; see ioctl for why that makes no difference here.
    [LibraryImport("libc", EntryPoint = "prctl", SetLastError = true)]
    public static partial int Prctl(int option, nuint a, nuint b, nuint c, nuint d);

    /// <summary>pidfd_open(2): readable when the process has ended. glibc has it since 2.36 only.</summary>
    public static int PidfdOpen(int pid) => (int)Syscall(SYS_pidfd_open, pid, 0, 0, 0, 0, 0);

    /// <summary>pidfd_send_signal(2).</summary>
    public static int PidfdSendSignal(int process, int signal) => (int)Syscall(SYS_pidfd_send_signal, process, signal, 0, 0, 0, 0);

    private const nint SYS_pidfd_open = 434, SYS_pidfd_send_signal = 424;
}
