using System.Text;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Insight.Recorder;
using Vmm.Insight.Timeline;
using Vmm.Kvm;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>The timeline of one machine: records it while the machine is made and runs, and writes it.</summary>
internal sealed class TimelineReport : IDisposable
{
    /// <summary>Shows the whole kernel log, with its clock: a later word overrides quiet.</summary>
    private const string Talkative = "loglevel=7 printk.time=1";
    private const int StandardError = 2;

    private readonly long _origin;
    private readonly Until? _until;
    private readonly OutputFile? _json, _html;

    /// <param name="until">The console text that ends it; null for the machine's own end.</param>
    /// <param name="json">A file for programs; null for none.</param>
    /// <param name="html">A page for browsers; null for none.</param>
    /// <exception cref="UsageException">One cannot be written.</exception>
    public TimelineReport(StartClock clock, Until? until, string? json, string? html)
    {
        (_origin, _until) = (clock.Exec, until);
        try
        {
            _json = json is null ? null : OutputFile.Open(json, "--json");
            _html = html is null ? null : OutputFile.Open(html, "--html");
        }
        catch
        {
            Dispose();
            throw;
        }

        Phases.Done("start vmm");
        Console = new ConsoleLines(_origin, until);
    }

    public PhaseLog Phases { get; } = new();

    public ConsoleLines Console { get; }

    public IEnumerable<OutputFile?> Files => [_json, _html];

    public static MachineSpec WithTalkativeKernel(MachineSpec options) => options.CommandLineOnly
        ? options
        : options with { CommandLine = string.IsNullOrWhiteSpace(options.CommandLine) ? Talkative : Insert(options.CommandLine) };

    public void Watch(Machine machine) => Console.Reached += () => machine.End(MachineEnd.Reached(_until!.Name));

    /// <inheritdoc cref="MachineFigures.Tell"/>
    public BootTimeline Tell(MachineSpec spec, Machine machine, string ending, IEnumerable<(string Name, long Time)> marks)
    {
        BootTimeline timeline = Make(spec, machine, ending, marks.Where(mark => mark.Time != 0).Select(mark => (mark.Name, mark.Time - _origin)));
        Stderr.Write(TimelineText.Format(timeline, TextStyle.Of(StandardError)));
        if (_json is not null)
        {
            TimelineJson.Write(_json, timeline);
        }

        _html?.Write(Encoding.UTF8.GetBytes(TimelineHtml.Format(timeline)));
        if (_until is not null && Console.ReachedAt is null)
        {
            Stderr.WriteLine($"vmm: the machine ended before '{_until.Name}' came");
        }

        return timeline;
    }

    public void Dispose()
    {
        _json?.Dispose();
        _html?.Dispose();
    }

    /// <summary>After the user's words, but before a lone "--": the words after that are init's.</summary>
    private static string Insert(string commandLine)
    {
        int end = $"{commandLine} ".IndexOf(" -- ", StringComparison.Ordinal);
        return end < 0 ? $"{commandLine} {Talkative}" : $"{commandLine[..end]} {Talkative}{commandLine[end..]}";
    }

    private BootTimeline Make(MachineSpec spec, Machine machine, string ending, IEnumerable<(string Name, long Time)> marks)
    {
        ExitProfile profile = RunObserver.ProfileOf(machine);
        long firstEntry = machine.FirstEntry - _origin;
        long total = machine.Ended - _origin;
        ExitRecorder[] recorders = [.. machine.Observer!.Recorders.Where(recorder => recorder.FirstExit != 0)];
        long? firstExit = recorders.Length == 0 ? null : recorders.Min(recorder => recorder.FirstExit) - _origin;
        IEnumerable<(string, long)> done = Phases.Steps.Select(step => (step.Name, step.End - _origin)).Append(("start threads", firstEntry));
        return new BootTimeline
        {
            Kernel = Path.GetFileName(spec.Kernel),
            Host = $"{HostKinds.Detect().Describe().Split(':')[0]}, {spec.Cpus} vCPU{(spec.Cpus == 1 ? "" : "s")}, "
                + $"{ByteSize.Format(spec.Memory)}",
            Ending = ending,
            FirstEntry = firstEntry,
            Total = total,
            Steps =
            [
                .. BootTimeline.StepsOfVmm(done),
                .. BootTimeline.StepsOfGuest(firstEntry, firstExit, Console.FirstByte, Console.PromptAt, Console.Lines, total, marks),
            ],
            Lines = Console.Lines,
            Gaps = BootTimeline.FindGaps(firstEntry, Console.Lines, total),
            DroppedLines = Console.Dropped,
            Exits = profile.Exits,
            ConsoleExits = profile.ByDevice.FirstOrDefault(static device => device.Name == GuestConsole.FirstPort)?.Exits ?? 0,
            InVmm = profile.InVmm,
        };
    }
}
