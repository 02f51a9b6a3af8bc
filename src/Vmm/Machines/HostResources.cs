using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Kvm;
using Vmm.Kvm.Abi;

namespace Vmm.Machines;

/// <summary>The host's resources of one machine: files, sockets, network cards, programs, memory, threads, and KVM's VM.
/// </summary>
/// <remarks>
/// After <see cref="Open"/> nothing is opened by a name any more, so a machine could be confined then. Assembling makes only
/// descriptors without one (vCPUs, eventfds, timers), and when the first vCPU enters the guest they are all there. What comes
/// later has its reason:
/// <list type="bullet">
/// <item>accept4, and eventually socket and connect: a connection that a program asks for while the guest runs
/// (<c>--vsock</c>), or that is made again because its other end had closed it (<c>--net socket=</c>);</item>
/// <item>clone3 and eventfd2 for the thread that writes to standard error (vmm-writer), with vmm's first message while the
/// guest runs: most machines have none;</item>
/// <item>timerfd_create, and open where it is a terminal, for the standard input of <c>vmm run</c>, which is read once the
/// command wants it;</item>
/// <item>KVM's statistics, once the guest has ended.</item>
/// </list>
/// </remarks>
internal sealed class HostResources : IDisposable
{
    private readonly List<IDisposable> _owned = [];

    private HostResources()
    {
    }

    /// <summary>The kernel's file. Valid until <see cref="CloseBootFiles"/>; null if <see cref="Saved"/> is restored.</summary>
    public KernelImage? Kernel { get; private set; }

    /// <summary>The initramfs's files. Until <see cref="CloseBootFiles"/>; null where <see cref="Saved"/> goes on.</summary>
    public InitialRamDisk? Initrd { get; private set; }

    /// <summary>The saved machine to restore; null where a kernel is booted.</summary>
    public ISavedMachine? Saved { get; private init; }

    /// <summary>/dev/kvm.</summary>
    public KvmSystem Kvm { get; private set; } = null!;

    /// <summary>The VM, with memory and interrupt controllers, and still without vCPUs.</summary>
    public KvmVm Vm { get; private set; } = null!;

    public HostKind Kind { get; } = HostKinds.Detect();

    public GuestRam Ram { get; private set; } = null!;

    /// <summary>The event loop, not started yet.</summary>
    public EventLoop Loop { get; private set; } = null!;

    /// <summary>Prepares the VM in the background, and then runs the loop; null where there is nothing to prepare.</summary>
    public BackgroundTask? Preparation { get; private set; }

    /// <summary>The console on standard input and output; null where <see cref="Guest"/> has it.</summary>
    public GuestConsole? Console { get; private set; }

    /// <summary>Communicates with the guest instead of the user (vmm run); null for a user at the console.</summary>
    public IMachineGuest? Guest { get; private set; }

    public DeviceBackends Backends { get; private set; } = null!;

    /// <summary>Opens everything, or nothing: where a step fails, what was opened is closed again.</summary>
    /// <param name="observer">Null for none, which costs nothing.</param>
    /// <param name="carried">State of the machine that this one replaces; null for none.</param>
    /// <param name="guest">Owned from now on; null for the user at the console.</param>
    /// <param name="saved">A saved machine to restore instead of booting a kernel; null for none.</param>
    /// <exception cref="UsageException">A file or a number that the user gave is wrong.</exception>
    /// <exception cref="BootException">The kernel or initramfs is wrong.</exception>
    /// <exception cref="HostException">The host lacks something.</exception>
    public static HostResources Open(
        MachineSpec spec, RunObserver? observer = null, CarriedState? carried = null, IMachineGuest? guest = null, ISavedMachine? saved = null)
    {
        var resources = new HostResources { Guest = guest, Saved = saved };
        try
        {
            resources.OpenAll(spec, observer, carried);
            return resources;
        }
        catch
        {
            resources.Dispose();
            throw;
        }
    }

    /// <summary>Closes kernel and initramfs, once they are loaded and all vCPUs exist.</summary>
    public void CloseBootFiles()
    {
        Kernel?.Dispose();
        Initrd?.Dispose();
    }

    public void Dispose()
    {
        Loop?.Stop();
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }
    }

    private void OpenAll(MachineSpec spec, RunObserver? observer, CarriedState? carried)
    {
        Loop = Own(new EventLoop());
        if (Guest is not null)
        {
            Own(Guest);
        }

        if (Saved is null)
        {
            Kernel = Own(KernelImage.Open(spec.Kernel));
            Initrd = Own(InitialRamDisk.Open(spec.Initrds, Guest?.Initramfs ?? default));
            observer?.Phases?.Done("open kernel");
        }

        Kvm = Own(KvmSystem.Open());
        if (spec.Cpus > Kvm.MaximumVcpus)
        {
            throw new UsageException($"--cpus {spec.Cpus}: KVM on this host allows {Kvm.MaximumVcpus}");
        }

        Vm = Own(Kvm.CreateVm());
        observer?.Phases?.Done("create VM");
        Ram = Own(new GuestRam(spec.Memory, spec.SharesMemory, Saved));
        foreach (GuestRegion region in Ram.Memory.Regions)
        {
            Vm.AddMemory(region);
        }

        observer?.Phases?.Done("guest memory");
        SetUpVm(spec.Cpus);
        observer?.Phases?.Done("interrupt controllers");
        Guest?.Open(Loop);
        Console = Guest is null ? Own(new GuestConsole(Loop)) : null;
        Backends = Own(DeviceBackends.Open(spec, Loop, Ram, carried, Guest));
        observer?.Phases?.Done("open devices");
    }

    private void SetUpVm(int cpus)
    {
        if (cpus > CpuLapic.FirstLongId)
        {
            // Needed for x2APIC ids above 254 (KVM API section 7, KVM_CAP_X2APIC_API): 32-bit ids, no broadcast quirk.
            Vm.EnableCapability(KvmCapability.KVM_CAP_X2APIC_API, 3);
        }

        Vm.SetRealModePages(new GuestAddress(Layout.KvmIdentityMap), new GuestAddress(Layout.KvmTss));
        Vm.CreateInterruptControllers();
        if (Kvm.Check(KvmCapability.KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0)
        {
            Vm.EnableCapability(KvmCapability.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
        }

        if (Kind == HostKind.Pvm)
        {
            // SYSCALL needs help there: see SyscallLanding. KVM waits here for some milliseconds until the old MSR filter is
            // unused, which is as long as the rest of a start takes.
            Preparation = Own(new BackgroundTask(
                EventLoop.ThreadName, EventLoop.StackSize, () => Vm.ExitOnMsr(MsrInitial.LStar)));
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}
