using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Insight.Recorder;
using Vmm.Insight.Timeline;
using Vmm.Insight.Trace;
using Vmm.Kvm;

namespace Vmm.Machines;

/// <summary>Observes a machine while it is made and runs, for <c>--profile</c>, <c>--trace</c> and <c>boot-timeline</c>. A
/// machine without one spends nothing on them.</summary>
internal sealed class RunObserver : ILoopObserver
{
    private readonly List<ExitRecorder> _recorders = [];
    private TraceTrack? _devices;

    /// <summary>Gets each exit; null for none.</summary>
    public TraceWriter? Trace { get; init; }

    /// <summary>Gets the steps of making the machine; null for none.</summary>
    public PhaseLog? Phases { get; init; }

    /// <summary>Gets the console's output; null for none.</summary>
    public IConsoleTap? Console { get; init; }

    /// <summary>What was recorded of each vCPU, to be read once it has ended.</summary>
    public IReadOnlyList<ExitRecorder> Recorders => _recorders;

    /// <summary>Before the loop starts.</summary>
    public void Attach(EventLoop loop)
    {
        if (Trace is not null)
        {
            _devices = Trace.AddTrack("devices");
            loop.Observer = this;
        }
    }

    /// <summary>The probe of one vCPU. Called once for each, in order.</summary>
    public unsafe RecordingProbe ProbeFor(Vcpu vcpu, AddressBus ports, AddressBus mmio, IExitDetail detail)
    {
        var recorder = new ExitRecorder(vcpu.Run, ports, mmio, detail, Trace?.AddTrack($"vCPU {vcpu.Id}"));
        _recorders.Add(recorder);
        return new RecordingProbe(recorder);
    }

    void ILoopObserver.Handled(string name, long start, long duration) => _devices!.Add(start, 0, duration, null, name);

    /// <summary>All exits of a machine that has ended, and is not disposed of yet.</summary>
    public static ExitProfile ProfileOf(Machine machine)
    {
        var kvm = new Dictionary<string, ulong>(StringComparer.Ordinal);
        foreach ((string name, ulong value) in machine.Vcpus.SelectMany(vcpu => vcpu.Vcpu.ReadStatistics()))
        {
            kvm[name] = kvm.GetValueOrDefault(name) + value;
        }

        TimeSpan wall = System.Diagnostics.Stopwatch.GetElapsedTime(machine.FirstEntry, machine.Ended);
        return new ExitProfile([.. (machine.Observer?.Recorders ?? []).Select(recorder => recorder.Rows)], kvm, wall);
    }
}
