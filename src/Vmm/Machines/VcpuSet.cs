using Vmm.Assist;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Insight.Recorder;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Kvm.State;

namespace Vmm.Machines;

/// <summary>The vCPUs of a machine, each with the thread that runs it.</summary>
internal sealed class VcpuSet : IDisposable
{
    private readonly List<IDisposable> _owned = [];
    private readonly List<VcpuThread> _threads = [];
    private readonly List<VcpuAssist> _assists = [];
    private readonly ManualResetEventSlim _begin = new(false);

    private VcpuSet()
    {
    }

    public IReadOnlyList<VcpuThread> Threads => _threads;

    /// <summary>The instruction assist of each vCPU.</summary>
    public IReadOnlyList<VcpuAssist> Assists => _assists;

    /// <summary>Posted port writes; null where KVM has none.</summary>
    public PostedPortWrites? Posted { get; private set; }

    /// <param name="entry">Initial registers of the first vCPU; null if a saved state will be loaded.</param>
    /// <param name="processor">CPUID as KVM supports it for guests.</param>
    /// <param name="end">Called when a vCPU has stopped, on its thread.</param>
    public static VcpuSet Create(
        MachineSpec spec,
        HostResources host,
        Platform platform,
        EntryState? entry,
        CpuidEntry[] processor,
        RunObserver? observer,
        Action<GuestStop> end)
    {
        var vcpus = new VcpuSet();
        try
        {
            vcpus.CreateAll(spec, host, platform, entry, processor, observer, end);
            return vcpus;
        }
        catch
        {
            vcpus.Dispose();
            throw;
        }
    }

    /// <summary>The state of the VM with its vCPUs.</summary>
    public VmState StateOf(HostResources host) =>
        VmState.Of(host.Kvm, host.Vm, _threads.Zip(_assists, static (vcpu, assist) => (vcpu.Vcpu, (ISavedAssist?)assist)));

    /// <summary>Runs all vCPUs, the first on the calling thread, until <see cref="RequestStop"/>.</summary>
    public void Run()
    {
        _begin.Set();
        _threads[0].RunHere();
        Join();
    }

    /// <summary>Ends all. Any thread.</summary>
    public void RequestStop()
    {
        foreach (VcpuThread vcpu in _threads)
        {
            vcpu.RequestStop();
        }
    }

    /// <summary>Parks all vCPUs outside of the guest. Not from one of their threads.</summary>
    /// <returns>False when one was not parked within <paramref name="patience"/>.</returns>
    public bool TryPause(TimeSpan patience)
    {
        foreach (VcpuThread vcpu in _threads)
        {
            vcpu.RequestPause();
        }

        return _threads.TrueForAll(vcpu => vcpu.WaitUntilParked(patience));
    }

    /// <summary>KVM_KVMCLOCK_CTRL for all vCPUs: watchdogs of guests with kvmclock then ignore the pause. All are paused, or have not run
    /// yet.</summary>
    public void NotifyPaused() => _threads.ForEach(static vcpu => vcpu.Vcpu.NotifyPaused());

    /// <summary>Ends <see cref="TryPause"/>.</summary>
    public void Resume()
    {
        foreach (VcpuThread vcpu in _threads)
        {
            vcpu.Resume();
        }
    }

    public void Dispose()
    {
        RequestStop();
        _begin.Set();       // where they never started
        Join();
        for (int i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }

        _begin.Dispose();
    }

    private void CreateAll(
        MachineSpec spec,
        HostResources host,
        Platform platform,
        EntryState? entry,
        CpuidEntry[] processor,
        RunObserver? observer,
        Action<GuestStop> end)
    {
        Vcpu[] vcpus = new Vcpu[spec.Cpus];
        for (int id = 0; id < vcpus.Length; id++)
        {
            vcpus[id] = Own(host.Vm.CreateVcpu(id, host.Ram.Memory));
        }

        if (host.Vm.PostedWritesPage is { } page)
        {
            Posted = Own(new PostedPortWrites(host.Vm, vcpus[0], page, host.Loop, platform.Ports));
        }

        bool isPvm = host.Kind == HostKind.Pvm;
        var cpuid = new CpuidTemplate(processor, new CpuidOptions
        {
            Cpus = spec.Cpus,
            Model = spec.CpuModel,
            TscDeadlineTimer = host.Kvm.Check(KvmCapability.KVM_CAP_TSC_DEADLINE_TIMER) > 0,
            TscKhz = vcpus[0].TscKhz,
            HideHypercalls = isPvm,
            AlwaysVisible = isPvm ? Processor.Features : null,
        });
        if (cpuid.HiddenButPresent.Count > 0)
        {
            Stderr.WriteLine("vmm: this host cannot hide from the guest's programs: " + string.Join(' ', cpuid.HiddenButPresent));
        }

        var setup = new VcpuSetup(cpuid, spec.Cpus);
        int xsaveSize = host.Vm.XsaveSize ?? 4096;
        foreach (Vcpu vcpu in vcpus)
        {
            setup.Apply(vcpu, vcpu.Id == 0 ? entry : null);
            VcpuAssist assist = Own(new VcpuAssist(vcpu, host.Kind, xsaveSize));
            ExitHandler exits = ExitHandlerFor(vcpu, platform, assist);
            _assists.Add(assist);
            _threads.Add(Own<VcpuThread>(observer is null
                ? new VcpuThread<NoProbe>(vcpu, exits, end, default)
                : new VcpuThread<RecordingProbe>(
                    vcpu, exits, end, observer.ProbeFor(vcpu, platform.Ports, platform.Mmio, assist))));
        }

        if (isPvm)
        {
            WatchForStuckHypercalls(host.Loop);
        }

        // The first runs on the thread that calls Run.
        foreach (VcpuThread vcpu in _threads[1..])
        {
            vcpu.Start(_begin);
        }
    }

    private void Join()
    {
        foreach (VcpuThread vcpu in _threads)
        {
            vcpu.Join();
        }
    }

    private unsafe ExitHandler ExitHandlerFor(Vcpu vcpu, Platform platform, IExitAssist assist) =>
        new(vcpu.Run, platform.Ports, platform.Mmio, assist, Posted);

    /// <summary>On PVM hosts VMCALL repeats for ever inside KVM; a regular kick finds that (StuckHypercall). A vCPU that had an
    /// exit since the last check is not stuck.</summary>
    private void WatchForStuckHypercalls(EventLoop loop)
    {
        const int PeriodMilliseconds = 100;
        var timer = Own(new TimerFd());
        long[] before = new long[_threads.Count];
        loop.Add(timer.Number, LibC.EPOLLIN, _ =>
        {
            timer.Drain();
            for (int i = 0; i < _threads.Count; i++)
            {
                long exits = _threads[i].Exits.Total;
                if (exits == before[i])
                {
                    _threads[i].Kick();
                }

                before[i] = exits;
            }
        }, "kick");
        timer.StartPeriodic(TimeSpan.FromMilliseconds(PeriodMilliseconds));
    }

    private T Own<T>(T part)
        where T : IDisposable
    {
        _owned.Add(part);
        return part;
    }
}
