using Vmm.Boot;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>/dev/kvm itself: what this host's KVM can do, and new VMs (KVM API section 4, "system ioctls").</summary>
internal sealed unsafe class KvmSystem : IDisposable
{
    public const string DevicePath = "/dev/kvm";

    // KVM API section 2: 12 since Linux 2.6.22, never to change again.
    private const int ApiVersion = 12;

    private readonly FileDescriptor _fd;

    private KvmSystem(FileDescriptor fd) => _fd = fd;

    /// <exception cref="HostException">There is no /dev/kvm, or it may not be used.</exception>
    public static KvmSystem Open()
    {
        int fd = LibC.open(DevicePath, LibC.O_RDWR | LibC.O_CLOEXEC, 0);
        if (fd < 0)
        {
            throw OpenFailed(System.Runtime.InteropServices.Marshal.GetLastPInvokeError());
        }

        var system = new KvmSystem(new FileDescriptor(fd));
        int version = KvmIoctl.Try(fd, KvmRequest.KVM_GET_API_VERSION);
        if (version < 0)
        {
            system.Dispose();
            throw new HostException(
                $"{DevicePath}: is not KVM's device", $"'mknod {DevicePath} c 10 232' makes it; {MissingKvm.EmulatedRemedy}");
        }

        return version == ApiVersion
            ? system
            : throw new HostException($"{DevicePath}: API version {version}, vmm needs {ApiVersion}", "update the kernel");
    }

    /// <summary>The result of KVM_CHECK_EXTENSION: 0 for unsupported; a number for some capabilities.</summary>
    public int Check(KvmCapability capability) => Ioctl(KvmRequest.KVM_CHECK_EXTENSION, (nint)capability);

    /// <summary>Bytes to map for each vCPU's struct kvm_run and what lies behind it.</summary>
    public int VcpuMmapSize => Ioctl(KvmRequest.KVM_GET_VCPU_MMAP_SIZE);

    /// <summary>How many vCPUs a VM may have.</summary>
    public int MaximumVcpus => Math.Max(Check(KvmCapability.KVM_CAP_MAX_VCPUS), 1);

    /// <summary>KVM_GET_SUPPORTED_CPUID: the processor as KVM can show it to a guest.</summary>
    public CpuidEntry[] GetSupportedCpuid()
    {
        byte* buffer = stackalloc byte[KvmCpuidTable.SizeOf(KvmCpuidTable.MostEntries)];
        *(uint*)buffer = KvmCpuidTable.MostEntries;
        KvmIoctl.Call(_fd.Number, KvmRequest.KVM_GET_SUPPORTED_CPUID, (nint)buffer);
        return KvmCpuidTable.Read(buffer);
    }

    /// <summary>KVM_GET_MSR_INDEX_LIST: the MSRs that make up a vCPU's state, but for KVM's own.</summary>
    public uint[] GetMsrIndexes()
    {
        const int Most = 4096;
        uint* list = stackalloc uint[1 + Most];
        list[0] = Most;
        Ioctl(KvmRequest.KVM_GET_MSR_INDEX_LIST, (nint)list);

        // SAFETY: KVM wrote how many there are, at most as many as it was told that there is room for.
        return new ReadOnlySpan<uint>(list + 1, (int)Math.Min(list[0], Most)).ToArray();
    }

    public KvmVm CreateVm()
    {
        int fd;
        do
        {
            // EINTR happens when a signal (the GC's, a timer's) arrives while KVM allocates: try again.
            fd = KvmIoctl.Try(_fd.Number, KvmRequest.KVM_CREATE_VM);
        }
        while (fd < 0 && System.Runtime.InteropServices.Marshal.GetLastPInvokeError() == ErrnoException.EINTR);

        return new KvmVm(new FileDescriptor(ErrnoException.Check(fd, nameof(KvmRequest.KVM_CREATE_VM))), VcpuMmapSize);
    }

    public void Dispose() => _fd.Dispose();

    private static HostException OpenFailed(int errno) => errno switch
    {
        ErrnoException.ENOENT => new HostException(
            $"{DevicePath}: not there", $"{MissingKvm.Remedy(MissingKvm.HasVtX, MissingKvm.HasAmdV)}; {MissingKvm.EmulatedRemedy}"),
        ErrnoException.EACCES or ErrnoException.EPERM => new HostException(
            $"{DevicePath}: permission denied",
            $"add yourself to group kvm (sudo usermod -aG kvm $USER) and log in again; {MissingKvm.EmulatedRemedy}"),
        _ => new HostException(new ErrnoException(DevicePath, errno).Message),
    };

    private int Ioctl(KvmRequest request, nint argument = 0) => KvmIoctl.Call(_fd.Number, request, argument);
}
