using System.Runtime.InteropServices;
using Vmm.Assist;
using Vmm.Boot;
using Vmm.Devices.Bus;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;

namespace Vmm.Bench.Guests;

/// <summary>Runs a <see cref="GuestImage"/> on vmm's own parts: its KVM classes, exit loop, buses, assist and event
/// loop, put together as Machine does it.</summary>
internal sealed class GuestMachine : IBatches
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private const int Runnable = 0;     // KVM_MP_STATE_RUNNABLE

    private readonly List<IDisposable> _owned = [];
    private readonly List<VcpuThread> _threads = [];
    private readonly List<KvmSregs> _sregs = [];
    private readonly AddressBus _ports = new("port");
    private readonly AddressBus _mmio = new("mmio");
    private readonly Gate _gate = new();
    private readonly GuestMemory _memory;
    private readonly GuestImage _image;
    private readonly CpuidTemplate _cpuid;
    private readonly HostKind _kind = HostKinds.Detect();
    private MachineEnd? _end;

    public GuestMachine(Scenario scenario, int cpl)
    {
        KvmSystem kvm = Own(KvmSystem.Open());
        KvmVm vm = Own(kvm.CreateVm());
        AnonymousMemory mapping = Own(new AnonymousMemory(GuestImage.MemorySize, "end other programs"));
        _memory = new GuestMemory(new GuestRegion(new GuestAddress(0), GuestImage.MemorySize, mapping.Start));
        vm.AddMemory(_memory.Regions[0]);
        vm.SetRealModePages(new GuestAddress(Layout.KvmIdentityMap), new GuestAddress(Layout.KvmTss));
        vm.CreateInterruptControllers();
        if (kvm.Check(KvmCapability.KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0)
        {
            vm.EnableCapability(KvmCapability.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
        }

        vm.ExitOnMsr(MsrInitial.LStar);
        AddDevices(vm);

        int vcpus = scenario.NeedsPartner ? 2 : 1;
        var made = new Vcpu[vcpus];
        for (int id = 0; id < vcpus; id++)
        {
            made[id] = Own(CreateVcpu(kvm, vm, id));
        }

        TscKhz = made[0].TscKhz;
        _image = new GuestImage(scenario, cpl, TscKhz / 1000);
        _memory.Write(new GuestAddress(0), _image.Memory);
        _cpuid = new CpuidTemplate(kvm.GetSupportedCpuid(), new CpuidOptions
        {
            Cpus = vcpus,
            TscDeadlineTimer = kvm.Check(KvmCapability.KVM_CAP_TSC_DEADLINE_TIMER) > 0,
            TscKhz = TscKhz,
            HideHypercalls = _kind == HostKind.Pvm,
            AlwaysVisible = _kind == HostKind.Pvm ? Processor.Features : null,
        });
        foreach (Vcpu vcpu in made)
        {
            vcpu.SetCpuid(_cpuid.ForVcpu(vcpu.Id));
            KvmSregs sregs = _image.Sregs(vcpu.Id, vcpu.GetSregs(), _cpuid.Features);
            _sregs.Add(sregs);
            vcpu.SetSregs(sregs);
            vcpu.SetRegs(_image.Regs(vcpu.Id));
            _ = vcpu.TrySetXcr0(GuestImage.Xcr0);
            VcpuAssist assist = Own(new VcpuAssist(vcpu, _kind, vm.XsaveSize ?? 4096));
            _threads.Add(Own(new VcpuThread<NoProbe>(vcpu, HandlerFor(vcpu, assist), Stop, default)));
        }

        var begin = new ManualResetEventSlim(true);
        foreach (VcpuThread thread in _threads)
        {
            thread.Start(begin);
        }

        WaitForGate();
    }

    /// <summary>Frequency of the guest's time-stamp counter.</summary>
    public uint TscKhz { get; }

    public void Run(Span<uint> samples)
    {
        _gate.Open();
        WaitForGate();
        _memory.Read(new GuestAddress(GuestImage.Samples), MemoryMarshal.AsBytes(samples));
    }

    /// <summary>Writes the same machine for yardstick.c.</summary>
    public unsafe void Save(string path, int count)
    {
        CpuidEntry[] cpuid = _cpuid.ForVcpu(0);
        using FileStream file = File.Create(path);
        Span<ulong> head =
        [
            GuestImage.MemorySize, (ulong)_image.Memory.Length, GuestImage.Samples, GuestImage.Kick, (ulong)count,
            GuestImage.Xcr0, (uint)_image.Vcpus | ((ulong)cpuid.Length << 32),
            GuestImage.MessageAddress | ((ulong)GuestImage.MessageData << 32),
        ];
        file.Write(MemoryMarshal.AsBytes(head));
        for (int id = 0; id < _image.Vcpus; id++)
        {
            KvmSregs sregs = _sregs[id];
            KvmRegs regs = _image.Regs(id);
            file.Write(MemoryMarshal.AsBytes(_cpuid.ForVcpu(id).AsSpan()));
            file.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<KvmSregs>(in sregs)));
            file.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<KvmRegs>(in regs)));
        }

        file.Write(_image.Memory);
    }

    public void Dispose()
    {
        _threads.ForEach(thread => thread.RequestStop());
        _gate.Close();
        _threads.ForEach(thread => thread.Join());
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }

        _gate.Dispose();
    }

    private void AddDevices(KvmVm vm)
    {
        var kick = Own(new EventFd());
        var interrupt = Own(new EventFd());
        var router = new GsiRouter(vm);
        uint gsi = router.AllocateGsi();
        router.SetMessage(gsi, GuestImage.MessageAddress, GuestImage.MessageData);
        vm.AddIrqFd(interrupt, gsi);
        vm.AddIoEventFd(kick, GuestImage.Kick, 4, null);

        var loop = Own(new EventLoop());
        loop.Failed += error => End(MachineEnd.HostFailed(error.Message));
        loop.Add(kick.Number, LibC.EPOLLIN, _ =>
        {
            kick.Drain();
            interrupt.Signal();
        });
        loop.Start();

        _ports.Add(GuestImage.SinkPort, 1, new Operations.Sink());
        _ports.Add(GuestImage.RaisePort, 1, new Raiser(interrupt));
        _ports.Add(GuestImage.GatePort, 1, _gate);
        _mmio.Add(GuestImage.Sink, 0x1000, new Operations.Sink());
    }

    /// <summary>As KvmVm does, but started at once: this guest's second vCPU does not wait for INIT and SIPI.</summary>
    private unsafe Vcpu CreateVcpu(KvmSystem kvm, KvmVm vm, int id)
    {
        var fd = new FileDescriptor(KvmIoctl.Call(vm.Fd, KvmRequest.KVM_CREATE_VCPU, id));
        int state = Runnable;

        // SAFETY: struct kvm_mp_state is one 32-bit number, on this stack.
        KvmIoctl.Call(fd.Number, KvmRequest.KVM_SET_MP_STATE, (nint)(&state));
        return new Vcpu(fd, kvm.VcpuMmapSize, vm.XsaveSize is not null, id, _memory);
    }

    private unsafe ExitHandler HandlerFor(Vcpu vcpu, VcpuAssist assist) =>
        new(vcpu.Run, _ports, _mmio, new AnswersMsrs(assist));

    private void Stop(GuestStop stop) => End(MachineEnd.For(stop));

    private void End(MachineEnd end)
    {
        Interlocked.CompareExchange(ref _end, end, null);
        _gate.Arrive();
    }

    private void WaitForGate()
    {
        if (!_gate.Wait(Patience))
        {
            throw new TimeoutException($"the guest did not end its batch within {Patience.TotalSeconds:0} s");
        }

        if (_end is { } end)
        {
            throw new InvalidOperationException(end.Message);
        }
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }

    /// <summary>The guest comes here when a batch is done, and is held until the next.</summary>
    private sealed class Gate : IBusDevice, IDisposable
    {
        private readonly SemaphoreSlim _arrived = new(0), _opened = new(0);

        public string Name => "gate";

        public void Read(ulong offset, Span<byte> data)
        {
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            Arrive();
            _opened.Wait();
        }

        public void Arrive() => _arrived.Release();

        public bool Wait(TimeSpan patience) => _arrived.Wait(patience);

        public void Open() => _opened.Release();

        /// <summary>Lets the guest through for good.</summary>
        public void Close() => _opened.Release(1000);

        public void Dispose()
        {
            _arrived.Dispose();
            _opened.Dispose();
        }
    }

    private sealed class Raiser(EventFd interrupt) : IBusDevice
    {
        public string Name => "raiser";

        public void Read(ulong offset, Span<byte> data)
        {
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data) => interrupt.Signal();
    }

    /// <summary>The machine's assist, but for the filtered MSR, which is answered at once.</summary>
    private sealed class AnswersMsrs(VcpuAssist assist) : IExitAssist
    {
        public GuestStop? Complete(ReadOnlySpan<byte> bytes) => assist.Complete(bytes);

        public bool HandleMsr(bool isWrite) => true;

        public GuestStop? AfterKick() => assist.AfterKick();

        public string Where() => assist.Where();
    }
}
