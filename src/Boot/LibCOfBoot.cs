using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>What the package Tmds.LibC lacks, as far as it is needed here, too; the rest is in Vmm.Host.LibCAdditions.
/// </summary>
public static class LibCOfBoot
{
    extension(LibC)
    {
        public static int LOCK_SH => 1;

        public static int LOCK_EX => 2;

        public static int LOCK_NB => 4;

        /// <summary>Advice of madvise(2), since Linux 5.14; older kernels return EINVAL.</summary>
        public static int MADV_POPULATE_WRITE => 23;

        public static int flock(int fd, int operation) => Flock(fd, operation);
    }

    [DllImport("libc.so.6", EntryPoint = "flock", SetLastError = true)]
    private static extern int Flock(int fd, int operation);
}
