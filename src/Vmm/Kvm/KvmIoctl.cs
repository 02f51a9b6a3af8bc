using System.Runtime.InteropServices;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

internal static unsafe class KvmIoctl
{
    /// <returns>The ioctl's result; below zero the last error has the errno.</returns>
    public static int Try(int fd, KvmRequest request, nint argument = 0) => LibC.ioctl(fd, (int)request, (void*)argument);

    /// <summary>An ioctl on a KVM descriptor that is expected to work.</summary>
    /// <exception cref="ErrnoException">It did not; the message names the request.</exception>
    public static int Call(int fd, KvmRequest request, nint argument = 0)
    {
        int result = Try(fd, request, argument);
        if (result >= 0)
        {
            return result;
        }

        // Before the name is looked up, which may make calls of its own.
        int errno = Marshal.GetLastPInvokeError();
        throw new ErrnoException(request.ToString(), errno);
    }
}
