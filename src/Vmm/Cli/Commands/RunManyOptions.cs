using System.CommandLine;
using System.Globalization;
using Vmm.Cli.Targets;
using Vmm.Host;
using Vmm.Named.Limits;
using Vmm.Run;
using Vmm.Run.Many;
using Vmm.Run.Many.Slurm;

namespace Vmm.Cli.Commands;

/// <summary>The options of <c>vmm run</c> for more than one run: --each, and the targets of vmm.json.</summary>
internal sealed class RunManyOptions
{
    /// <summary>Do not read a vmm.json.</summary>
    private const string NoFile = "none";

    private const string Parallel = "--parallel", FailFast = "--fail-fast", Shard = "--shard", On = "--on";

    /// <summary>Options of vmm exits run and vmm boot-timeline run that vmm run does not have.</summary>
    private static readonly string[] OfFigures = ["--format", "--output", "--json", "--html"];

    // Options of a whole call of vmm, not of one of its runs. Each run gets its own files for reports.
    private static readonly string[] OfCall =
        [Parallel, FailFast, Shard, On, "--config", "--all", .. OfFigures];
    private static readonly string[] Reports = ["--junit", "--result", "--log", "--bundle"];

    private readonly Option<string[]> _each = new("--each")
    {
        Description = "Run the command once for each file that matches (quote the pattern; **: any directories), or for each line of a file "
            + "(@- for standard input), every time in a machine of its own. {} in the command and in options is the item, {/} its last part, "
            + "{#} its number; a command without any gets it as last word. --log and --bundle are directories then; may be given several times",
        HelpName = "PATTERN|@FILE",
    };

    private readonly Option<string> _parallel = new(Parallel, "-j")
    {
        Description = "With many runs: at most so many machines at a time, and never more than fit into free memory; if not given, as many "
            + "as there are processors for",
        HelpName = "N",
    };

    private readonly Option<bool> _failFast = new(FailFast) { Description = "With many runs: end all when one has failed" };

    private readonly Option<string> _shard = new(Shard)
    {
        Description = "With many runs: only every N-th, by the order of names, from the I-th on; the other shards are for other machines",
        HelpName = "I/N",
    };

    private readonly Option<string> _on = new(On)
    {
        Description = "With many runs: submit them to Slurm as one array job, and collect the results; a shard whose node fails "
            + "runs again",
        HelpName = "slurm[:PARTITION][,shards=N]",
    };

    private readonly Option<string> _config = new("--config")
    {
        Description = "The file with defaults and targets; if not given, vmm.json where it is in this directory; none: no file",
        HelpName = "none|FILE",
    };

    private readonly Option<bool> _all = new("--all") { Description = "Run all targets of vmm.json" };

    public IEnumerable<Option> All => [_each, _parallel, _failFast, _shard, _on, _config, _all];

    /// <summary>The keys of a vmm.json.</summary>
    public static RunFileKeys KeysOf(Command run) => new(
        run,
        ofCall: Named(run, [Parallel, FailFast, On, .. Reports]),
        notInFile: Named(run, [Shard, "--config", "--all", "--tty", "--interactive", .. BackgroundOptions.Names, .. OfFigures]));

    /// <param name="words">The argument that holds targets and the command.</param>
    /// <param name="read">Checks and reads the options of one run.</param>
    /// <returns>One run, or many.</returns>
    /// <exception cref="UsageException">Something does not fit.</exception>
    public (RunOptions? One, ManyOptions? Many) Read(ParseResult result, Argument<string[]> words, Func<ParseResult, RunOptions> read)
    {
        var given = RunWords.Of(result, words);
        string? path = result.GetValue(_config) ?? (File.Exists(RunFile.UsualName) ? RunFile.UsualName : null);
        RunFile? file = path is null or NoFile ? null : RunFile.Read(path, KeysOf(result.CommandResult.Command));
        CheckTargets(given, file);
        if (file is null && !given.Has(_each))
        {
            CheckAlone(given);
            return (read(result), null);
        }

        IReadOnlyList<RunTarget?> targets = file is null ? [] : given.Has(_all) ? file.Targets : [.. given.Targets.Select(file.Find)];
        List<RunCall> calls = [.. targets.DefaultIfEmpty(null).Select(target => RunCall.Merge(given, file?.Defaults, target, each => each == _each))];
        List<(Option Option, IReadOnlyList<string> Values)> ofAll =
            [.. file?.Defaults.Options.Where(each => !given.Has(each.Option)) ?? [], .. given.Options];
        if (calls is [{ Each.Count: 0 } alone])
        {
            CheckAlone(given);
            IEnumerable<string> options = RunWords.Join([.. alone.Options, .. ofAll.Where(each => Reports.Contains(each.Option.Name))]);
            RunOptions one = read(Parse(result, options, alone.Command));
            return (one with { Reports = one.Reports with { Name = alone.Target } }, null);
        }

        return (null, ReadMany(result, read, calls, new RunWords([], ofAll, [])));
    }

    /// <summary>Is it an option of each run, and not of the whole call?</summary>
    internal static bool IsOfOne(Option option) => !OfCall.Contains(option.Name) && !Reports.Contains(option.Name);

    private static Option[] Named(Command run, string[] names) => [.. run.Options.Where(option => names.Contains(option.Name))];

    private void CheckTargets(RunWords given, RunFile? file)
    {
        bool all = given.Has(_all);
        if (all && given.Targets.Count > 0)
        {
            throw new UsageException("--all: runs all targets; leave their names out");
        }

        if (all && file?.Targets.Count == 0)
        {
            throw new UsageException("--all: there are no targets in the file");
        }

        if (file is null && given is { Targets: [var word, ..], Command.Count: > 0 } && !given.Has(_each))
        {
            throw new UsageException($"'{word}' is in front of --, where targets of {RunFile.UsualName} go, and there is none here"
                + (word.Contains(":/", StringComparison.Ordinal) ? $"; a directory of this host is shared by --share {word}" : ""));
        }

        // Without a file a command may follow without --.
        if (file is null && (all || (given.Has(_each) && given.Targets.Count > 0)))
        {
            throw new UsageException(all
                ? $"--all: targets are in {RunFile.UsualName}, and there is none here"
                : $"'{given.Targets[0]}' is in front of --; quote the pattern of --each, so that the shell does not expand it, and write -- "
                    + "before the command: vmm run --each 'tests/*.sh' -- sh {}");
        }
    }

    private void CheckAlone(RunWords given)
    {
        foreach (Option option in (Option[])[_parallel, _failFast, _shard, _on])
        {
            if (given.Has(option))
            {
                throw new UsageException($"{option.Name}: goes with --each, or several targets of {RunFile.UsualName}");
            }
        }
    }

    private static ParseResult Parse(ParseResult outer, IEnumerable<string> options, IEnumerable<string> command)
    {
        string[] args = [.. CommandTree.PathOf(outer.CommandResult.Command).Split(' ')[1..], $"--config={NoFile}", .. options, "--", .. command];
        ParseResult result = outer.RootCommandResult.Command.Parse(args, CommandTree.Parsing);
        CommandLineCheck.Check(args, result);
        return result;
    }

    private ManyOptions ReadMany(ParseResult result, Func<ParseResult, RunOptions> read, List<RunCall> calls, RunWords ofAll)
    {
        RunOptions? first = null;
        IReadOnlyList<RunItem> items = [.. calls.SelectMany(call => Items(call, calls.Count > 1, (options, command) =>
        {
            RunOptions one = read(Parse(result, options, command));
            first ??= one;
            return one;
        }))];
        int cpus = items.Max(static item => item.Cpus);
        (int Number, int Of)? shard = ofAll.Value(Shard) is { } text ? RunItems.ParseShard(text) : null;
        return new ManyOptions
        {
            Items = shard is { } part ? RunItems.Take(items, static item => item.Name, part) : items,
            Shard = shard,
            Parallel = ofAll.Value(Parallel) is { } parallel ? ParseParallel(parallel) : Math.Max(1, HostProcessors.Count / cpus),
            IsParallelGiven = ofAll.Value(Parallel) is not null,
            Place = ofAll.Value(On) is { } place ? SlurmPlace.Parse(place) : null,
            FailFast = ofAll.Has(_failFast),
            ShowAll = first!.ShowConsole,
            Reports = first.Reports with
            {
                Result = ofAll.Value("--result"),
                JUnit = ofAll.Value("--junit"),
                Log = ofAll.Value("--log"),
                Bundle = ofAll.Value("--bundle"),
            },
        };
    }

    /// <param name="isOneOfMany">There are other targets beside this one.</param>
    /// <param name="read">Reads the options of one run.</param>
    private static IEnumerable<RunItem> Items(
        RunCall call, bool isOneOfMany, Func<IEnumerable<string>, IEnumerable<string>, RunOptions> read)
    {
        if (call.Command.Count == 0)
        {
            throw new UsageException(call.Target is null
                ? "no command given: vmm run --each 'tests/*.sh' -- sh {}"
                : $"the target '{call.Target}' has no command, and none is given behind --");
        }

        IReadOnlyList<string> words = [.. RunWords.Join(call.Options)];
        IReadOnlyList<string> program = OwnCommandLine.ForRuns();
        IReadOnlyList<string> each = call.Each.Count == 0 ? [""] : [.. call.Each.SelectMany(RunItems.Find).Distinct(StringComparer.Ordinal)];
        RunOptions? first = null;
        for (int i = 0; i < each.Count; i++)
        {
            bool isTarget = call.Each.Count == 0;
            IReadOnlyList<string> command = isTarget ? call.Command : RunItems.CommandFor(call.Command, each[i], i + 1);
            IReadOnlyList<string> options = isTarget ? words : [.. words.Select(word => RunItems.Put(word, each[i], i + 1))];
            if (first is null)
            {
                // An error in one is an error in all.
                first = read(options, command);
                SharedThings.Check(words, first, each.Count > 1 || isOneOfMany);
            }

            string name = call.Target is null ? each[i] : isTarget ? call.Target : $"{call.Target}/{each[i]}";
            yield return new RunItem(name, [.. program, "run", $"--config={NoFile}", .. options], command)
            {
                Memory = first.Machine.Memory,
                Cpus = first.Machine.Cpus,
                Kernel = first.Machine.Kernel,
            };
        }
    }

    private static int ParseParallel(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number is >= 1 and <= 1024
            ? number
            : throw new UsageException($"{Parallel} {text}: takes a number from 1 to 1024");
}
