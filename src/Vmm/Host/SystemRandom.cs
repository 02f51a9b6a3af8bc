using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Random bytes of the kernel. Not System.Security.Cryptography: on Linux that loads OpenSSL, which costs a
/// start of milliseconds and megabytes.</summary>
internal static unsafe class SystemRandom
{
    /// <summary>Fills all of it; getrandom(2) blocks only until the host itself has booted.</summary>
    public static void Fill(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            long got;
            fixed (byte* start = destination)
            {
                // SAFETY: the span is pinned and that long.
                got = LibC.getrandom(start, (nuint)destination.Length, 0);
            }

            if (got < 0)
            {
                int errno = Marshal.GetLastPInvokeError();
                if (errno != ErrnoException.EINTR)
                {
                    throw new ErrnoException("getrandom", errno);
                }

                continue;
            }

            destination = destination[(int)got..];
        }
    }
}
