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
using Vmm.Devices.Virtio.Block;
using Vmm.Devices.Virtio.Net;
using Vmm.Devices.Virtio.Vsock;
using Vmm.Host;
using Vmm.Insight.Complaints;
using Vmm.Insight.Recorder;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines.Slots;

namespace Vmm.Machines;

/// <summary>One virtual machine, from its specification to its end. It reads from top to bottom in the order of a machine's
/// phases: what to make (<see cref="MachineSpec"/>), what the host gives for it (<see cref="HostResources"/>),
/// <see cref="Assemble()"/>, and <see cref="Run()"/>.</summary>
internal sealed partial class Machine : IPowerControl, ISignalled, IDisposable
{
    private const int RngSeedLength = 32;

    private readonly MachineSpec _spec;
    private readonly HostResources _host;
    private readonly RunObserver? _observer;
    private readonly CarriedState? _carried;
    private readonly List<IDisposable> _owned = [];
    private readonly Lock _ending = new();
    private readonly ComplaintWatch _complaints = new();
    private readonly PanicWatch _panic;
    private MachineEnd? _end;
    private int _buttonPressed;
    private Platform _platform = null!;
    private PanicGrace _panicGrace = null!;
    private GuestDevices _devices = null!;
    private IVirtioSlots? _slots;
    private VcpuSet? _vcpus;

    private Machine(MachineSpec spec, HostResources host, RunObserver? observer, CarriedState? carried)
    {
        (_spec, _host, _observer, _carried) = (spec, host, observer, carried);
        _panic = new PanicWatch(_complaints);
    }

    /// <summary>Its specification.</summary>
    public MachineSpec Spec => _spec;

    /// <summary>Null for none.</summary>
    public RunObserver? Observer => _observer;

    public AddressBus Ports => _platform.Ports;

    public AddressBus Mmio => _platform.Mmio;

    public EventLoop Loop => _host.Loop;

    public GuestRam Ram => _host.Ram;

    public IReadOnlyList<VcpuThread> Vcpus => _vcpus!.Threads;

    /// <summary>The instruction assist of each vCPU.</summary>
    public IReadOnlyList<VcpuAssist> Assists => _vcpus!.Assists;

    /// <summary>The disks as the guest sees them, with what is behind each.</summary>
    public IReadOnlyList<(VirtioBlock Device, OpenDisk Disk)> Disks => _devices.Disks;

    /// <summary>Network cards, in the order given.</summary>
    public IReadOnlyList<VirtioNet> Nets => _devices.Nets;

    /// <summary>The socket device; null where there is none.</summary>
    public VirtioVsock? Vsock => _devices.Vsock;

    /// <summary>The console on standard input and output; null where <see cref="Guest"/> has it.</summary>
    public GuestConsole? Console => _host.Console;

    /// <summary>Communicates with the guest instead of the user (vmm run); null for a user at the console.</summary>
    public IMachineGuest? Guest => _host.Guest;

    /// <summary>Port writes of the guest that were delivered without an exit.</summary>
    public long PostedWrites => _vcpus!.Posted?.Delivered ?? 0;

    public PowerManagement Power => _platform.Power;

    /// <summary>The result of loading the kernel; null for a restored machine.</summary>
    public LoadedGuest? Loaded { get; private set; }

    /// <summary>How long the firmware's tables took.</summary>
    public TimeSpan Describing { get; private set; }

    /// <summary>KiB that vmm and the guest's memory had resident at most by the first instruction; only for
    /// --stats.</summary>
    public long PeakBeforeEntry { get; private set; }

    /// <summary>Was the power button pressed?</summary>
    public bool IsButtonPressed => Volatile.Read(ref _buttonPressed) != 0;

    /// <summary>Errors of the host under the disks, one line for each file; none where all went well.</summary>
    public IEnumerable<string> DiskErrors => _host.Backends.DiskErrors;

    /// <summary>When the first vCPU was about to enter the guest, as a Stopwatch timestamp; 0 before.</summary>
    public long FirstEntry { get; private set; }

    /// <summary>When all vCPUs had ended, as a Stopwatch timestamp; 0 before.</summary>
    public long Ended { get; private set; }

    /// <summary>How long the guest may take to shut down once its power button was pressed.</summary>
    public TimeSpan StopTimeout => _spec.StopTimeout;

    /// <summary>Opens what the machine needs of the host, and assembles it.</summary>
    /// <param name="observer">Null for none, which costs nothing.</param>
    /// <param name="carried">What the machine left that this one replaces; null for none.</param>
    /// <param name="guest">Owned from now on; null for the user at the console.</param>
    /// <exception cref="UsageException">A file or a number that the user gave is wrong.</exception>
    /// <exception cref="BootException">The kernel, initrd or command line is wrong.</exception>
    /// <exception cref="HostException">The host cannot.</exception>
    public static Machine Build(
        MachineSpec spec, RunObserver? observer = null, CarriedState? carried = null, IMachineGuest? guest = null) =>
        Assemble(spec, HostResources.Open(spec, observer, carried, guest), observer, carried);

    /// <summary>Assembles a machine out of what was opened.</summary>
    /// <param name="host">Opened for this specification; owned from now on.</param>
    /// <param name="observer">Null for none, which costs nothing.</param>
    /// <param name="carried">What the machine left that this one replaces; null for none.</param>
    /// <exception cref="UsageException">There are more devices than fit.</exception>
    /// <exception cref="BootException">The kernel, initrd or command line is wrong.</exception>
    /// <exception cref="HostException">The host cannot.</exception>
    public static Machine Assemble(
        MachineSpec spec, HostResources host, RunObserver? observer = null, CarriedState? carried = null)
    {
        var machine = new Machine(spec, host, observer, carried);
        try
        {
            machine.Assemble();
            return machine;
        }
        catch
        {
            machine.Dispose();
            throw;
        }
    }

    /// <summary>The guest's kernel complains. Raised on the vCPU's thread that wrote the line.</summary>
    public event Action<Complaint> Complained
    {
        add => _complaints.Found += value;
        remove => _complaints.Found -= value;
    }

    /// <summary>Runs the guest until it ends, and tells how.</summary>
    public MachineEnd Run() => Run(signals: null);

    /// <inheritdoc cref="Run()"/>
    /// <param name="signals">Handled while the machine runs; null for none.</param>
    public MachineEnd Run(StopSignals? signals)
    {
        Loop.Start(_host.Preparation);
        Console?.Start(_carried?.Input);
        if (_host.Saved is not null)
        {
            // Output that was pending when the machine was saved: its event cannot come any more.
            Loop.Post(DrainConsole);
        }

        if (Ram.Server is { } server)
        {
            LoadRest(server);
        }

        Guest?.Starting();
        if (_spec.Stats)
        {
            PeakBeforeEntry = ResidentMemory.MeasurePeak();
        }

        FirstEntry = Stopwatch.GetTimestamp();

        // Returns once End has stopped all vCPUs.
        _vcpus!.Run();
        Ended = Stopwatch.GetTimestamp();
        Loop.Stop();
        _vcpus.Posted?.Deliver();
        MachineEnd end = _end!;
        try
        {
            _host.Backends.Close();
        }
        catch (HostException error)
        {
            // Replaces the guest's own end: not all of its writes are on the disk. Its console output is still written.
            end = MachineEnd.HostFailed(error.Message);
        }

        return Console?.Finish(end, signals) ?? end;
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

            bool isUnwanted = end == MachineEnd.Reset && _spec.OnReboot == RebootAction.Fail;
            _end = _panic.Resolve(isUnwanted ? MachineEnd.UnwantedReset : end);
        }

        _slots?.StopWaiting();

        // Here, so that a guest that asked for its end does not run beyond this exit.
        _vcpus?.RequestStop();
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

    /// <summary>Takes the state that a machine that replaces this one continues with. Once, after the run.</summary>
    public CarriedState TakeCarriedState()
    {
        var next = new CarriedState { Input = Console?.TakeUnread() ?? [] };
        _devices.KeepOverlays(next);
        return next;
    }

    public void Dispose()
    {
        Loop.Stop();
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }

        _host.Dispose();
    }

    private void Assemble()
    {
        Loop.Failed += error => End(MachineEnd.HostFailed(Failures.Describe(error)));
        _observer?.Attach(Loop);
        Guest?.Attach(this);
        _platform = new Platform(_spec, _host.Vm, Ram.Memory, this, State);
        AddSerialPorts();
        AddForkPort();
        _slots = Own(CreateSlots());
        Own(_host.Backends);        // disposed before what they signal
        _devices = Own(new GuestDevices(_spec, Loop, Ram, _host.Backends, Console?.VirtioPort));
        _devices.PlugInto(_slots);
        TakeTerminalSize();
        Done("devices");
        CpuidEntry[] processor = _host.Kvm.GetSupportedCpuid();
        Processor.AddName(processor);
        if (_host.Saved is not null)
        {
            (_slots as PciSlots)?.AssignWindows();
        }
        else
        {
            IReadOnlyList<E820Range> reserved = WriteTables(processor);
            Done("firmware tables");
            Loaded = Load(reserved, _host.Kernel!, _host.Initrd!);
        }

        _vcpus = Own(VcpuSet.Create(_spec, _host, _platform, Loaded?.Entry, processor, _observer, stop => End(MachineEnd.For(stop))));
        State.Add("vm", _vcpus.StateOf(_host));
        State.Add("devices", _slots);
        _host.CloseBootFiles();
        _host.Preparation?.Finish();
        _host.Backends.WaitUntilReady();
        LoadSaved();            // the features of programs that serve devices are known now
        Done("vCPUs");
    }

    private void AddSerialPorts()
    {
        var interrupt = new IrqLine(_host.Vm, Serial16550.Com1Irq);
        IConsoleTap watch = _observer?.Console is { } tap ? new ConsoleTaps(_complaints, tap) : _complaints;
        if (_spec.Control is not null)
        {
            ConsoleTape = new ConsoleTape(Loop);
            watch = new ConsoleTaps(watch, ConsoleTape);
        }

        Serial16550? second = null;
        if (Guest is null)
        {
            Console!.Connect(this, interrupt, watch, _spec.Console == ConsoleKind.Virtio);
        }
        else
        {
            second = Guest.SecondPort(new IrqLine(_host.Vm, Serial16550.Com2Irq));
        }

        Serial16550 first = Guest?.FirstPort(interrupt, watch) ?? Console!.Port;
        ConsoleInput = (ISerialInput?)Console?.VirtioPort ?? first;
        _platform.AddSerial(first, second, State);
        _panicGrace = Own(new PanicGrace(Loop, () => Console?.BytesOut ?? Guest!.ConsoleBytes, () => End(_panic.Stuck())));
    }

    private IVirtioSlots CreateSlots()
    {
        var log = new RateLimitedLog(new DeviceLog(), TimeProvider.System);
        bool anyLength = _host.Kvm.Check(KvmCapability.KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
        return _spec.Transport == Transport.Pci
            ? new PciSlots(_host.Vm, Loop, Ports, Mmio, Ram.Memory, log, anyLength)
            : new MmioSlots(_host.Vm, Loop, Mmio, Ram.Memory, log);
    }

    private IReadOnlyList<E820Range> WriteTables(ReadOnlySpan<CpuidEntry> processor)
    {
        long begin = Stopwatch.GetTimestamp();
        IReadOnlyList<E820Range> reserved = FirmwareTables.For(_spec.Cpus, _slots!, Ram.Memory, processor).Write(Ram.Memory);
        _platform.Generation.Begin();
        Describing = Stopwatch.GetElapsedTime(begin);
        return reserved;
    }

    private LoadedGuest Load(IReadOnlyList<E820Range> reserved, KernelImage kernel, InitialRamDisk initrd)
    {
        byte[] seed = new byte[RngSeedLength];
        SystemRandom.Fill(seed);
        string commandLine = GuestCommandLine.Compose(_spec, kernel, _slots!, _host.Kind, Guest?.KernelWords);
        _platform.FwCfg.SetCommandLine(commandLine);
        LoadedGuest loaded = KernelLoader.Load(Ram.Memory, kernel, new BootRequest
        {
            CommandLine = commandLine,
            Initrd = initrd,
            Protocol = _spec.Entry,
            AcpiRsdp = FirmwareTables.Rsdp,
            Reserved = reserved,
            Unpack = _spec.Unpack,
            Kaslr = _spec.Kaslr,
            RngSeed = seed,
        });
        if (loaded.Unpacked?.Obstacle is { } obstacle)
        {
            Stderr.WriteLine($"vmm: kernel {kernel.Name}: {obstacle}: it is booted anyway and unpacks itself in the guest, which takes longer "
                + "(--no-unpack: the same without this line)");
        }

        Done(loaded.Unpacked switch
        {
            null => "load kernel",
            { Kaslr: KaslrOutcome.Randomized } => "unpack and relocate kernel",
            _ => "unpack kernel",
        });
        return loaded;
    }

    private void Done(string phase) => _observer?.Phases?.Done(phase);

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}
