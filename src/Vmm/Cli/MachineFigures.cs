using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Insight.Timeline;
using Vmm.Insight.Trace;
using Vmm.Machines;

namespace Vmm.Cli;

/// <summary>The figures about one machine after its end: the cost of its exits (--profile, vmm exits), each exit (--trace), and
/// the timeline of its boot (vmm boot-timeline). The same for plain machines and vmm run.</summary>
internal sealed class MachineFigures : IDisposable
{
    private readonly StartClock _clock;
    private readonly ProfileOutput? _profile;
    private readonly TimelineReport? _timeline;
    private readonly TraceWriter? _trace;

    /// <param name="profile">The profile's output; null for none. Owned from now on, as the timeline is.</param>
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

    /// <summary>The observer for the machine; null if no figures are wanted, which then costs nothing.</summary>
    public RunObserver? Observer { get; }

    /// <summary>The specification of the machine to build for the figures.</summary>
    public MachineSpec For(MachineSpec asked) => _timeline is null ? asked : TimelineReport.WithTalkativeKernel(asked);

    /// <summary>The machine is built, and does not run yet.</summary>
    public void Watch(Machine machine) => _timeline?.Watch(machine);

    /// <summary>Writes all figures. The machine has ended and is not disposed.</summary>
    /// <param name="ending">How it ended, for people.</param>
    /// <param name="marks">Further events with Stopwatch timestamps.</param>
    /// <returns>False where something could not be written, which was reported.</returns>
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
