using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>What the package Tmds.LibC lacks of the C library and of Linux, beside it and under the names that C gives it:
/// <c>LibC.timerfd_create</c> as <c>LibC.read</c>.</summary>
/// <remarks>
/// A function that the package has, but not as vmm needs it, has a name in capitals here (<c>Poll</c>): under its own name
/// the compiler would take the package's. Functions that take a string for a file's name are the package's with
/// <see cref="Vmm.Boot.FileNameBytes"/>. LibCTests proves layouts and numbers, and that the package has none of this.
/// </remarks>
internal static unsafe partial class LibCAdditions
{
    private const string Library = "libc.so.6";     // bound by the linker: DirectPInvoke in Vmm.csproj

    extension(LibC)
    {
        public static int TFD_CLOEXEC => LibC.O_CLOEXEC;

        public static int TFD_NONBLOCK => LibC.O_NONBLOCK;

        public static int CLOCK_MONOTONIC => 1;

        // Places of CPUID's leaves for __x86_get_cpuid_feature_leaf.
        public static int CPUID_INDEX_1 => 0;

        public static int CPUID_INDEX_7 => 1;

        public static int CPUID_INDEX_80000001 => 2;

        public static int CPUID_INDEX_D_ECX_1 => 3;

        public static int CPUID_INDEX_7_ECX_1 => 6;

        [DllImport(Library, SetLastError = true)]
        public static extern int timerfd_create(int clock, int flags);

        [DllImport(Library, SetLastError = true)]
        public static extern int timerfd_settime(int fd, int flags, Itimerspec* value, Itimerspec* old);

        /// <summary>Without a transition of the garbage collector's: answered in user space, in tens of nanoseconds
        /// (vdso(7)).</summary>
        [DllImport(Library)]
        [SuppressGCTransition]
        public static extern int clock_gettime(int clock, timespec* now);

        [DllImport(Library, SetLastError = true)]
        public static extern int tgkill(int process, int thread, int signal);

        [DllImport(Library)]
        public static extern int gettid();

        [DllImport(Library, SetLastError = true)]
        public static extern int sysinfo(SystemInformation* information);

        /// <summary>Gives free memory of malloc(3) back to the kernel.</summary>
        [DllImport(Library)]
        public static extern int malloc_trim(nuint keep);

        [DllImport(Library, SetLastError = true)]
        public static extern long getrandom(byte* buffer, nuint length, uint flags);

        [DllImport(Library)]
        public static extern int inet_pton(int family, byte* text, byte* address);

        [DllImport(Library)]
        public static extern void cfmakeraw(termios* settings);

        /// <summary>The C library's answers of CPUID: EAX, EBX, ECX, EDX, then what of them can be used
        /// (sys/platform/x86.h, since glibc 2.33).</summary>
        [DllImport(Library)]
        public static extern uint* __x86_get_cpuid_feature_leaf(uint place);

        /// <summary>poll(2). The package's leaves the last error alone.</summary>
        [DllImport(Library, EntryPoint = "poll", SetLastError = true)]
        public static extern int Poll(pollfd* fds, nuint count, int timeoutMilliseconds);

        /// <summary>pthread_sigmask(3), which returns the error number itself. The package's is looked for in
        /// libpthread.so.0, which is nothing but a name since glibc 2.34.</summary>
        [DllImport(Library, EntryPoint = "pthread_sigmask")]
        public static extern int PthreadSigmask(int how, sigset_t* set, sigset_t* old);
    }
}
