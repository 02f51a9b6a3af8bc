using System.Diagnostics;
using Vmm.Assist;
using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Boot;
using Vmm.Boot.Acpi;
using Vmm.Boot.Kaslr;
using Vmm.Devices.Acpi;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Host;
using Vmm.Insight.Complaints;
using Vmm.Insight.Recorder;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Kvm.State;
using Vmm.Machines.Slots;

namespace Vmm.Machines;

/// <summary>One virtual machine, from the options to its end. Build reads from top to bottom as the machine
/// comes to be; <see cref="Run()"/> is its life.</summary>
internal sealed class Machine : IPowerControl, ISignalled, IDisposable
{
    private const int RngSeedLength = 32;

    private readonly MachineSpec _options;
    private readonly RunObserver? _observer;
    private readonly List<IDisposable> _owned = [];
    private readonly List<VcpuThread> _vcpus = [];
    private readonly List<VcpuAssist> _assists = [];
    private readonly Lock _ending = new();
    private readonly HostKind _hostKind = HostKinds.Detect();
    private MachineEnd? _end;
    private int _buttonPressed;
    private GuestDevices? _devices;
    private IVirtioSlots? _slots;
    private BackgroundTask? _early;
    private PostedPortWrites? _posted;
    private readonly NextLife? _before;
    private readonly ComplaintWatch _complaints = new();
    private readonly PanicWatch _panic;
    private PanicGrace _panicGrace = null!;
    private FwCfg _fwCfg = null!;

    private Machine(MachineSpec options, RunObserver? observer, NextLife? before, IMachineGuest? guest)
    {
        (_options, _observer, _before, Guest) = (options, observer, before, guest);
        _panic = new PanicWatch(_complaints);
    }

    /// <summary>Who looks on; null where nobody does.</summary>
    public RunObserver? Observer => _observer;

    public AddressBus Ports { get; } = new("port");

    public AddressBus Mmio { get; } = new("mmio");

    public EventLoop Loop { get; private set; } = null!;

    public GuestRam Ram { get; private set; } = null!;

    public IReadOnlyList<VcpuThread> Vcpus => _vcpus;

    /// <summary>What finished instructions for each vCPU.</summary>
    public IReadOnlyList<VcpuAssist> Assists => _assists;

    /// <summary>All but guest memory, once <see cref="TryQuiesce"/> has it stand still; or to be taken over by a machine
    /// that was built from the same options and memory has been loaded for, before it runs.</summary>
    public MachineState State { get; } = new();

    /// <summary>The disks as the guest sees them, with what is behind each.</summary>
    public IReadOnlyList<(Block Device, OpenDisk Disk)> Disks => _devices!.Disks;

    /// <summary>Network cards, in the order given.</summary>
    public IReadOnlyList<Net> Nets => _devices!.Nets;

    /// <summary>The socket device; null where there is none.</summary>
    public Vsock? Vsock => _devices!.Vsock;

    /// <summary>The console on standard input and output; null where <see cref="Guest"/> has it.</summary>
    public GuestConsole? Console { get; private set; }

    /// <summary>Who speaks with what runs inside; null for the user at the console.</summary>
    public IMachineGuest? Guest { get; }

    /// <summary>Writes of the guest to ports that reached their device without an exit.</summary>
    public long PostedWrites => _posted?.Delivered ?? 0;

    public PowerManagement Power { get; private set; } = null!;

    /// <summary>What the boot loader did.</summary>
    public LoadedGuest Loaded { get; private set; } = null!;

    /// <summary>How long the firmware's tables took.</summary>
    public TimeSpan Describing { get; private set; }

    /// <summary>KiB that vmm and the guest's memory had resident at most by the first instruction; only for
    /// --stats.</summary>
    public long PeakBeforeEntry { get; private set; }

    /// <summary>The power button was pressed: the user wants it to end.</summary>
    public bool IsButtonPressed => Volatile.Read(ref _buttonPressed) != 0;

    /// <summary>Errors of the host under the disks, one line for each file; none where all went well.</summary>
    public IEnumerable<string> DiskErrors => _devices!.DiskErrors;

    /// <summary>When the first vCPU was about to enter the guest, as a Stopwatch timestamp; 0 before.</summary>
    public long FirstEntry { get; private set; }

    /// <summary>When all vCPUs had ended, as a Stopwatch timestamp; 0 before.</summary>
    public long Ended { get; private set; }

    /// <param name="observer">Null where nobody looks, which costs nothing.</param>
    /// <param name="before">What the machine left that this one takes the place of; null for none.</param>
    /// <param name="guest">Owned from now on; null for the user at the console.</param>
    /// <exception cref="UsageException">A file or a number that the user gave is wrong.</exception>
    /// <exception cref="BootException">The kernel, initrd or command line is.</exception>
    /// <exception cref="HostException">The host cannot.</exception>
    public static Machine Build(
        MachineSpec options, RunObserver? observer = null, NextLife? before = null, IMachineGuest? guest = null)
    {
        var machine = new Machine(options, observer, before, guest);
        try
        {
            machine.Build();
            return machine;
        }
        catch
        {
            machine.Dispose();
            throw;
        }
    }

    /// <summary>How long the guest may take to shut down; zero for as long as it likes.</summary>
    public TimeSpan StopTimeout => _options.StopTimeout;

    /// <summary>Runs the guest until it ends, and tells how.</summary>
    public MachineEnd Run() => Run(signals: null);

    /// <inheritdoc cref="Run()"/>
    /// <param name="signals">What is heard meanwhile; null for nothing.</param>
    public MachineEnd Run(StopSignals? signals)
    {
        Loop.Start(_early);
        Console?.Start(_before?.Input);
        Guest?.Starting();
        if (_options.Stats)
        {
            PeakBeforeEntry = ResidentMemory.MeasurePeak();
        }

        FirstEntry = Stopwatch.GetTimestamp();
        foreach (VcpuThread vcpu in _vcpus[1..])
        {
            vcpu.Start();
        }

        // Whatever ends the machine stops all vCPUs (End).
        _vcpus[0].RunHere();
        foreach (VcpuThread vcpu in _vcpus)
        {
            vcpu.Join();
        }

        Ended = Stopwatch.GetTimestamp();
        Loop.Stop();
        _posted?.Deliver();
        MachineEnd end = _end!;
        try
        {
            _devices!.Close();
        }
        finally
        {
            // An image that cannot be closed takes none of the console's output along.
            end = Console?.Finish(end, signals) ?? end;
        }

        return end;
    }

    /// <summary>Ends the machine; the first call says how. Any thread.</summary>
    public void End(MachineEnd end)
    {
        lock (_ending)
        {
            if (_end is not null)
            {
                return;
            }

            bool isUnwanted = end == MachineEnd.Reset && _options.OnReboot == RebootAction.Fail;
            _end = _panic.Judge(isUnwanted ? MachineEnd.UnwantedReset : end);
        }

        _slots?.StopWaiting();

        // At once, so that a guest which asked for its end runs no further than this exit.
        foreach (VcpuThread vcpu in _vcpus)
        {
            vcpu.RequestStop();
        }
    }

    public bool PressPowerButton()
    {
        Volatile.Write(ref _buttonPressed, 1);
        return Power.PressPowerButton();
    }

    public void GiveTerminal() => Console?.GiveTerminal();

    public void TakeTerminal() => Console?.TakeTerminal();

    public void RequestReset() => End(MachineEnd.Reset);

    public void RequestPowerOff() => End(MachineEnd.PoweredOff);

    public void RequestExit(byte code) => End(MachineEnd.FromGuest(code));

    public void ReportPanic(bool handledByGuest)
    {
        _panic.Report(handledByGuest);
        if (!handledByGuest)
        {
            _panicGrace.Begin();
        }
    }

    /// <summary>What the machine leaves to one that starts in its place. Once, when it has run.</summary>
    public NextLife Leave()
    {
        var next = new NextLife { Input = Console?.TakeUnread() ?? [] };
        _devices!.LeaveTo(next);
        return next;
    }

    /// <summary>Brings all vCPUs out of the guest and holds them there; the devices go on. Not from a vCPU's thread.</summary>
    public void Pause() => TryPause(Timeout.InfiniteTimeSpan);

    /// <summary>Brings the whole machine to a standstill: no vCPU runs and KVM has nothing to complete for any, posted
    /// writes have reached their devices, what the guest asked the host for is done, and the event loop is held, with all
    /// timers and limits. Then its state can be saved. Not from a vCPU's thread or the loop's.</summary>
    /// <param name="patience">For how long the host may take to finish requests in flight.</param>
    /// <returns>False when it took longer, or the machine has ended: all goes on as before.</returns>
    public bool TryQuiesce(TimeSpan patience)
    {
        if (TryPause(patience))
        {
            _posted?.Deliver();
            if (Loop.TryHold(() => _devices!.AreQuiet, patience))
            {
                return true;
            }
        }

        Resume();
        return false;
    }

    /// <summary>Ends <see cref="Pause"/> or <see cref="TryQuiesce"/>.</summary>
    public void Resume()
    {
        Loop.Release();
        foreach (VcpuThread vcpu in _vcpus)
        {
            vcpu.Resume();
        }
    }

    public void Dispose()
    {
        Loop?.Stop();
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }
    }

    private void Build()
    {
        using KernelImage kernel = KernelImage.Open(_options.Kernel);
        Done("open kernel");
        using KvmSystem kvm = KvmSystem.Open();
        CheckCpus(kvm);

        KvmVm vm = Own(kvm.CreateVm());
        Done("create VM");
        Ram = Own(new GuestRam(_options.Memory, _options.SharesMemory));
        foreach (GuestRegion region in Ram.Memory.Regions)
        {
            vm.AddMemory(region);
        }

        Done("guest memory");
        SetUpKvm(kvm, vm);
        Done("interrupt controllers");
        Loop = Own(new EventLoop());
        Loop.Failed += error => End(MachineEnd.HostFailed(Failures.Describe(error)));
        _observer?.Attach(Loop);
        if (Guest is not null)
        {
            Own(Guest).Attach(this);
        }

        AddLegacyDevices(vm);
        IVirtioSlots slots = _slots = AddSlots(kvm, vm);
        _devices = Own(new GuestDevices(_options, Loop, Ram, _before, Guest));
        _devices.PlugInto(slots);
        Done("devices");
        CpuidEntry[] processor = kvm.GetSupportedCpuid();
        Processor.TellName(processor);
        long begin = Stopwatch.GetTimestamp();
        IReadOnlyList<E820Range> reserved = Describe(slots, processor).Write(Ram.Memory);
        Describing = Stopwatch.GetElapsedTime(begin);

        Done("firmware tables");
        byte[] seed = new byte[RngSeedLength];
        SystemRandom.Fill(seed);
        string commandLine = GuestCommandLine.Compose(_options, kernel, slots, _hostKind, Guest?.KernelWords);
        _fwCfg.SetCommandLine(commandLine);
        Loaded = KernelLoader.Load(Ram.Memory, kernel, new BootRequest
        {
            CommandLine = commandLine,
            Initrds = _options.Initrds,
            LastInitrd = Guest?.Initramfs ?? default,
            Protocol = _options.Entry,
            AcpiRsdp = FirmwareTables.Rsdp,
            Reserved = reserved,
            Unpack = _options.Unpack,
            Kaslr = _options.Kaslr,
            RngSeed = seed,
        });
        if (Loaded.Unpacked?.Obstacle is { } obstacle)
        {
            Stderr.WriteLine($"vmm: {KernelNotes.UnpacksItself(kernel.Name, obstacle)}");
        }

        Done(Loaded.Unpacked switch
        {
            null => "load kernel",
            { Kaslr: KaslrOutcome.Randomized } => "unpack and relocate kernel",
            _ => "unpack kernel",
        });
        CreateVcpus(kvm, vm, processor);
        _early?.Finish();
        _devices.WaitUntilReady();
        Done("vCPUs");
    }

    private void Done(string phase) => _observer?.Phases?.Done(phase);

    private void SetUpKvm(KvmSystem kvm, KvmVm vm)
    {
        if (_options.Cpus > 255)
        {
            // Needed for x2APIC ids above 254 (KVM API section 7, KVM_CAP_X2APIC_API): 32-bit ids, no broadcast quirk.
            vm.EnableCapability(KvmCapability.KVM_CAP_X2APIC_API, 3);
        }

        vm.SetRealModePages(new GuestAddress(Layout.KvmIdentityMap), new GuestAddress(Layout.KvmTss));
        vm.CreateInterruptControllers();
        if (kvm.Check(KvmCapability.KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0)
        {
            vm.EnableCapability(KvmCapability.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
        }

        if (_hostKind == HostKind.Pvm)
        {
            // SYSCALL needs help there: see SyscallLanding. To be sure that nobody uses the old filter any more, KVM
            // waits here for some milliseconds, which is as long as all the rest takes.
            _early = Own(new BackgroundTask(
                EventLoop.ThreadName, EventLoop.StackSize, () => vm.ExitOnMsr(MsrInitial.LStar)));
        }
    }

    private IVirtioSlots AddSlots(KvmSystem kvm, KvmVm vm)
    {
        var log = new RateLimitedLog(new DeviceLog(), TimeProvider.System);
        bool anyLength = kvm.Check(KvmCapability.KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
        return _options.Transport == Transport.Pci
            ? Own(new PciSlots(vm, Loop, Ports, Mmio, Ram.Memory, log, anyLength))
            : Own(new MmioSlots(vm, Loop, Mmio, Ram.Memory, log));
    }

    private FirmwareTables Describe(IVirtioSlots slots, ReadOnlySpan<CpuidEntry> processor)
    {
        if (slots is not PciSlots pci)
        {
            return new FirmwareTables(_options.Cpus, pci: null, ((MmioSlots)slots).Devices);
        }

        pci.AssignWindows();
        (GuestAddress start, ulong length) = Layout.PciWindow64(Ram.Memory, PhysicalAddressBits(processor));
        return new FirmwareTables(_options.Cpus, new AcpiPci
        {
            Ecam = new GuestAddress(Layout.PciEcam),
            Window32 = (Layout.PciWindow32, Layout.PciWindow32Size),
            Window64 = (start.Value, length),
            Interrupts = pci.Interrupts,
        }, virtioMmio: []);
    }

    private void CheckCpus(KvmSystem kvm)
    {
        if (_options.Cpus > kvm.MaximumVcpus)
        {
            throw new UsageException($"--cpus {_options.Cpus}: KVM on this host allows {kvm.MaximumVcpus}");
        }
    }

    /// <summary>On PVM hosts VMCALL repeats for ever inside KVM; a regular kick finds that (StuckHypercall). Whoever
    /// had an exit since the last look is not stuck.</summary>
    private void WatchForStuckHypercalls()
    {
        const int PeriodMilliseconds = 100;
        var timer = Own(new TimerFd());
        long[] before = new long[_options.Cpus];
        Loop.Add(timer.Number, LibC.EPOLLIN, _ =>
        {
            timer.Drain();
            for (int i = 0; i < _vcpus.Count; i++)
            {
                long exits = _vcpus[i].Exits.Total;
                if (exits == before[i])
                {
                    _vcpus[i].Kick();
                }

                before[i] = exits;
            }
        }, "kick");
        timer.StartPeriodic(TimeSpan.FromMilliseconds(PeriodMilliseconds));
    }

    private void AddLegacyDevices(KvmVm vm)
    {
        var firstLine = new IrqLine(vm, Serial16550.Com1Irq);
        if (Guest is null)
        {
            Console = Own(new GuestConsole(this, Loop, firstLine, _complaints, _observer?.Console));
            Ports.Add(Serial16550.Com1Port, Serial16550.PortCount, State.Add("com1", Console.Port));
        }
        else
        {
            Serial16550 first = Guest.FirstPort(firstLine, _complaints);
            Serial16550 second = Guest.SecondPort(new IrqLine(vm, Serial16550.Com2Irq));
            Ports.Add(Serial16550.Com1Port, Serial16550.PortCount, State.Add("com1", first));
            Ports.Add(Serial16550.Com2Port, Serial16550.PortCount, State.Add("com2", second));
        }

        I8042 keyboard = State.Add("i8042", new I8042(this));
        Ports.Add(I8042.DataPortNumber, 1, keyboard.DataPort);
        Ports.Add(I8042.CommandPortNumber, 1, keyboard.CommandPort);
        (ulong low, ulong high) = Layout.SplitMemory(_options.Memory);
        Ports.Add(Cmos.Port, Cmos.PortCount, State.Add("cmos", new Cmos(TimeProvider.System, low, high)));
        Ports.Add(DebugExit.Port, 1, new DebugExit(this));
        Ports.Add(ResetPort.Port, 1, State.Add("reset", new ResetPort(this)));
        Ports.Add(Port92.Port, 1, State.Add("port92", new Port92(this)));
        _panicGrace = Own(new PanicGrace(Loop, () => Console?.BytesOut ?? Guest!.ConsoleBytes, () => End(_panic.Stuck())));
        Ports.Add(Pvpanic.Port, 1, new Pvpanic(this));
        _fwCfg = State.Add("fwCfg", new FwCfg(_options.Memory, _options.Cpus));
        Ports.Add(FwCfg.Port, FwCfg.PortCount, _fwCfg);
        Power = State.Add("power", new PowerManagement(new IrqLine(vm, PowerManagement.SciIrq), this, TimeProvider.System));
        Ports.Add(PowerManagement.Port, PowerManagement.PortCount, Power);
        NullPort.AddAll(Ports, hasSecondSerial: Guest is not null);
    }

    /// <summary>CPUID 0x80000008 EAX[7:0]; 36 where a processor does not say.</summary>
    private static int PhysicalAddressBits(ReadOnlySpan<CpuidEntry> processor)
    {
        foreach (ref readonly CpuidEntry entry in processor)
        {
            if (entry.Function == 0x8000_0008)
            {
                return (int)(entry.Eax & 0xff);
            }
        }

        return 36;
    }

    private void CreateVcpus(KvmSystem kvm, KvmVm vm, CpuidEntry[] processor)
    {
        Vcpu[] vcpus = new Vcpu[_options.Cpus];
        for (int id = 0; id < vcpus.Length; id++)
        {
            vcpus[id] = Own(vm.CreateVcpu(id, Ram.Memory));
        }

        if (vm.PostedWritesPage is { } page)
        {
            _posted = Own(new PostedPortWrites(vm, vcpus[0], page, Loop, Ports));
        }

        var cpuid = new CpuidTemplate(processor, new CpuidOptions
        {
            Cpus = _options.Cpus,
            Model = _options.CpuModel,
            TscDeadlineTimer = kvm.Check(KvmCapability.KVM_CAP_TSC_DEADLINE_TIMER) > 0,
            TscKhz = vcpus[0].TscKhz,
            HideHypercalls = _hostKind == HostKind.Pvm,
            AlwaysVisible = _hostKind == HostKind.Pvm ? Processor.Features : null,
        });
        if (cpuid.HiddenButPresent.Count > 0)
        {
            Stderr.WriteLine("vmm: this host cannot hide from the guest's programs: "
                + string.Join(' ', cpuid.HiddenButPresent));
        }

        var setup = new VcpuSetup(cpuid);
        int xsaveSize = vm.XsaveSize ?? 4096;
        foreach (Vcpu vcpu in vcpus)
        {
            setup.Apply(vcpu, vcpu.Id == 0 ? Loaded.Entry : null);
            VcpuAssist assist = Own(new VcpuAssist(vcpu, _hostKind, xsaveSize));
            ExitHandler exits = ExitHandlerFor(vcpu, assist);
            _assists.Add(assist);
            _vcpus.Add(Own<VcpuThread>(_observer is null
                ? new VcpuThread<NoProbe>(vcpu, exits, OnGuestStop, default)
                : new VcpuThread<RecordingProbe>(vcpu, exits, OnGuestStop, _observer.ProbeFor(vcpu, Ports, Mmio, assist))));
        }

        State.Add("vm", VmState.Of(kvm, vm, _vcpus.Zip(_assists, static (vcpu, assist) => (vcpu.Vcpu, (ISavedAssist?)assist))));
        State.Add("devices", _slots!);
        if (_hostKind == HostKind.Pvm)
        {
            WatchForStuckHypercalls();
        }
    }

    private void OnGuestStop(GuestStop stop) => End(MachineEnd.For(stop));

    private unsafe ExitHandler ExitHandlerFor(Vcpu vcpu, IExitAssist assist) =>
        new(vcpu.Run, Ports, Mmio, assist, _posted);

    private bool TryPause(TimeSpan patience)
    {
        foreach (VcpuThread vcpu in _vcpus)
        {
            vcpu.RequestPause();
        }

        return _vcpus.TrueForAll(vcpu => vcpu.WaitUntilParked(patience));
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}
