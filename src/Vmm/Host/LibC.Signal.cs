using System.Runtime.InteropServices;

namespace Vmm.Host;

// <signal.h>. glibc's sigset_t has 1024 bits; the kernel's has 64, and that is what KVM_SET_SIGNAL_MASK takes.
internal static unsafe partial class LibC
{
    public const int SIG_BLOCK = 0;
    public const int SIGHUP = 1;
    public const int SIGINT = 2;
    public const int SIGQUIT = 3;
    public const int SIGUSR1 = 10;
    public const int SIGUSR2 = 12;
    public const int SIGPIPE = 13;
    public const int SIGTERM = 15;
    public const int SIGCONT = 18;
    public const int SIGTSTP = 20;
    public const int SIGTTIN = 21;
    public const int SIGTTOU = 22;
    public const int SIGXCPU = 24;
    public const int SIGXFSZ = 25;
    public const int SIGWINCH = 28;
    public const nint SIG_DFL = 0;
    public const nint SIG_IGN = 1;
    public const int SA_RESTART = 0x1000_0000;

    /// <summary>sigset_t of glibc: 128 bytes, the kernel's 64 signals first.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 128)]
    public struct Sigset
    {
        public ulong Signals;
    }

    /// <summary>struct sigaction of glibc, which fills in the restorer itself.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct SignalAction
    {
        public nint Handler;
        public Sigset Mask;
        public int Flags;
        public nint Restorer;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct Timespec
    {
        public long Seconds;
        public long Nanoseconds;
    }

    /// <summary>Returns the error number itself (pthread_sigmask(3)).</summary>
    [LibraryImport("libc", EntryPoint = "pthread_sigmask")]
    public static partial int PthreadSigmask(int how, Sigset* set, Sigset* old);

    [LibraryImport("libc", EntryPoint = "sigaction", SetLastError = true)]
    public static partial int Sigaction(int signal, SignalAction* action, SignalAction* old);

    [LibraryImport("libc", EntryPoint = "sigtimedwait", SetLastError = true)]
    public static partial int Sigtimedwait(Sigset* set, void* info, Timespec* timeout);

    [LibraryImport("libc", EntryPoint = "tgkill", SetLastError = true)]
    public static partial int Tgkill(int process, int thread, int signal);
}
