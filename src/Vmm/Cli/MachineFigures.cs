using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Insight.Timeline;
using Vmm.Insight.Trace;
using Vmm.Machines;

namespace Vmm.Cli;

/// <summary>What is to be told of one machine when it has ended: what its exits cost (--profile, vmm exits), each of them (--trace),
/// what happened when (vmm boot-timeline). A plain machine and one of vmm run tell it alike.</summary>
internal sealed class MachineFigures : IDisposable
{
    private readonly StartClock _clock;
    private readonly ProfileOutput? _profile;
    private readonly TimelineReport? _timeline;
    private readonly TraceWriter? _trace;

    /// <param name="profile">Where a profile goes; null for none. Owned from now on, as the timeline is.</param>
    /// <param name="trace">The file for trace events; null for none.</param>
    /// <param name="timeline">Null for none.</param>
    /// <exception cref="UsageException">The trace's file cannot be written.</exception>
    public MachineFigures(StartClock clock, ProfileOutput? profile, string? trace, TimelineReport? timeline = null)
    {
        (_clock, _profile, _timeline) = (clock, profile, timeline);
        try
        {
            _trace = trace is null ? null : new TraceWriter(trace, clock.Exec);
        }
        catch
        {
            Dispose();
            throw;
        }

        Observer = _profile is null && _timeline is null && _trace is null
            ? null
            : new RunObserver { Trace = _trace, Phases = _timeline?.Phases, Console = _timeline?.Console };
    }

    /// <summary>For the machine; null where nothing is to be told, which then costs nothing.</summary>
    public RunObserver? Observer { get; }

    /// <summary>The machine that has to be built for it.</summary>
    public MachineSpec For(MachineSpec asked) => _timeline is null ? asked : TimelineReport.WithTalkativeKernel(asked);

    /// <summary>The machine is built, and does not run yet.</summary>
    public void Watch(Machine machine) => _timeline?.Watch(machine);

    /// <summary>Writes all of it. The machine has ended and is not disposed of.</summary>
    /// <param name="ending">How it ended, for people.</param>
    /// <param name="marks">What else happened when, as Stopwatch timestamps.</param>
    /// <returns>False where something could not be written, which was said.</returns>
    public bool Tell(MachineSpec spec, Machine machine, string ending, params IEnumerable<(string Name, long Time)> marks)
    {
        _profile?.Write(RunObserver.ProfileOf(machine));
        BootTimeline? told = _timeline?.Tell(spec, machine, ending, marks);
        _trace?.Finish(told is null ? null : (format, track) => TimelineTrace.Write(told, format, _clock.Exec, track));
        bool isWhole = true;
        foreach (OutputFile? file in (OutputFile?[])[_profile?.File, _trace?.File, .. _timeline?.Files ?? []])
        {
            if (file?.Failure is { } failure)
            {
                Stderr.WriteLine($"vmm: {failure}");
                isWhole = false;
            }
        }

        return isWhole;
    }

    public void Dispose()
    {
        _trace?.Dispose();
        _timeline?.Dispose();
        _profile?.Dispose();
    }
}
