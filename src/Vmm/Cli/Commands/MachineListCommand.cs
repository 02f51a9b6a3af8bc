using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm ps</c>: the machines that there are, and how they are.</summary>
internal static class MachineListCommand
{
    /// <summary>Who has not answered by then is shown as silent.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    public static Command Create()
    {
        var all = new Option<bool>("--all", "-a") { Description = "Also those that have ended" };
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Print names alone" };
        var both = new Option<bool>("-aq", "-qa") { Description = "The same as -a -q", Hidden = true };
        var json = new Option<bool>("--json") { Description = "Print them for programs, as one JSON array; with --watch one a line" };
        var watch = new Option<bool>("--watch", "-w") { Description = "Print them again every second, until Ctrl-C" };
        var command = new Command("ps", "List machines that have a name, and what they use");
        foreach (Option option in (Option[])[all, quiet, both, json, watch])
        {
            command.Options.Add(option);
        }

        command.SetAction(result =>
        {
            bool takesAll = result.GetValue(all) || result.GetValue(both);
            bool isQuiet = result.GetValue(quiet) || result.GetValue(both);
            if (result.GetValue(json) && isQuiet)
            {
                throw new UsageException("--quiet: not with --json, which has the names");
            }

            Func<IReadOnlyList<MachineStatus>, string> format = result.GetValue(json) ? views => FormatJson(views, result.GetValue(watch))
                : isQuiet ? static views => string.Concat(views.Select(static view => view.Name + "\n"))
                : Format;
            if (result.GetValue(watch))
            {
                OutputReader.Follow(() => Watch(takesAll, format, clears: !result.GetValue(json) && LibC.isatty(1) == 1));
            }
            else
            {
                Stdout.Write(format(Look(takesAll)));
            }

            return ExitCodes.Success;
        });
        return command;
    }

    /// <summary>As a table; empty where there are none.</summary>
    internal static string Format(IReadOnlyList<MachineStatus> views)
    {
        bool hasDetail = views.Any(static view => view.Detail is not null);
        string[] titles = ["<NAME", "<STATE", "<KERNEL", "MEMORY", "CPUS", "CPU TIME", "EXITS/S", "UPTIME"];
        var table = new TextTable(hasDetail ? [.. titles, "<NOTE"] : titles);
        foreach (MachineStatus view in views)
        {
            string[] cells =
            [
                view.Name,
                StateOf(view),
                view.Kernel is { } kernel ? Path.GetFileName(kernel) : "-",
                view.Memory is { } memory ? ByteSize.Format(memory) : "-",
                view.Cpus?.ToString(CultureInfo.InvariantCulture) ?? "-",
                view.CpuTime is { } cpu ? Age(cpu) : "-",
                view.ExitRate is { } rate ? Rate(rate) : "-",
                view.Uptime is { } uptime ? Age(uptime) : "-",
            ];
            table.Add(hasDetail ? [.. cells, PrintableText.Of(view.Detail ?? "")] : cells);
        }

        var text = new StringBuilder();
        table.WriteTo(text);
        return string.Concat(text.ToString().Split('\n').Select(static line => line.Length > 2 ? $"{line[2..]}\n" : ""));
    }

    /// <summary>Seconds as people read them: <c>4.2s</c>, <c>12m05s</c>, <c>3h07m</c>, <c>5d02h</c>.</summary>
    internal static string Age(double seconds)
    {
        var time = TimeSpan.FromSeconds(Math.Clamp(seconds, 0, 1e9));
        return time switch
        {
            { TotalSeconds: < 59.95 } => FormattableString.Invariant($"{time.TotalSeconds:0.0}s"),
            { TotalHours: < 1 } => FormattableString.Invariant($"{(int)time.TotalMinutes}m{time.Seconds:00}s"),
            { TotalDays: < 1 } => FormattableString.Invariant($"{(int)time.TotalHours}h{time.Minutes:00}m"),
            _ => FormattableString.Invariant($"{(int)time.TotalDays}d{time.Hours:00}h"),
        };
    }

    private static string Rate(double rate) => rate.ToString(rate < 9.95 ? "0.0" : "0", CultureInfo.InvariantCulture);

    private static string StateOf(MachineStatus view)
    {
        string state = view.State.ToString().ToLowerInvariant();
        return view is { State: MachineStateName.Exited, ExitCode: { } code } ? string.Create(CultureInfo.InvariantCulture, $"{state} ({code})") : state;
    }

    /// <summary>As docs/ps.schema.json has it.</summary>
    internal static string FormatJson(IReadOnlyList<MachineStatus> views, bool isLine) => JsonSerializer.Serialize(
        views, isLine ? MachineLineJson.Default.IReadOnlyListMachineStatus : MachineStatusJson.Default.IReadOnlyListMachineStatus) + "\n";

    private static IReadOnlyList<MachineStatus> Look(bool all)
    {
        IReadOnlyList<MachineStatus> views = MachinePoll.Look(MachineStore.Default.List(), Patience);

        // One that was removed between the list and the look is none any more.
        return [.. views.Where(view => (all || view.IsLive || view.State == MachineStateName.Damaged) && Directory.Exists(view.Folder.Path))];
    }

    private static void Watch(bool all, Func<IReadOnlyList<MachineStatus>, string> format, bool clears)
    {
        var before = new Dictionary<string, MachineStatus>(StringComparer.Ordinal);
        while (true)
        {
            IReadOnlyList<MachineStatus> views = [.. Look(all).Select(view => SinceLast(view, before.GetValueOrDefault(view.Name)))];
            before = views.ToDictionary(static view => view.Name, StringComparer.Ordinal);
            Stdout.Write((clears ? "\e[H\e[J" : "") + format(views));
            OutputReader.Wait(Interval);
        }
    }

    /// <summary>Exits a second since the last look.</summary>
    private static MachineStatus SinceLast(MachineStatus view, MachineStatus? before) =>
        view is { Exits: { } exits, Uptime: { } uptime } && before is { Exits: { } earlier, Uptime: { } then } && uptime > then && exits >= earlier
            ? view with { ExitRate = (exits - earlier) / (uptime - then) }
            : view;
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(IReadOnlyList<MachineStatus>))]
internal sealed partial class MachineStatusJson : JsonSerializerContext;

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(MachineStatus))]
[JsonSerializable(typeof(IReadOnlyList<MachineStatus>))]
internal sealed partial class MachineLineJson : JsonSerializerContext;
