using System.CommandLine;
using System.Globalization;
using Vmm.Host;
using Vmm.Run;
using Vmm.Run.Many;

namespace Vmm.Cli.Commands;

/// <summary>What of <c>vmm run</c> is about many runs.</summary>
internal sealed class RunManyOptions
{
    private const string Each = "--each", Parallel = "--parallel", FailFast = "--fail-fast", Shard = "--shard";

    // Those that are not for the single runs, with a value behind them. --log and --bundle they get one by one.
    private static readonly string[] NotForOne = [Each, Parallel, Shard, "--junit", "--result", "--log", "--bundle"];

    private readonly Option<string> _each = new(Each)
    {
        Description = "Run the command once for each file that matches, or for each line of a file (@- for standard input), every time in a "
            + "machine of its own; {} in the command is the item, or else it comes last. --log and --bundle are directories then",
        HelpName = "PATTERN|@FILE",
    };

    private readonly Option<string> _parallel = new(Parallel)
    {
        Description = "With --each: at most so many machines at a time, and never more than free memory has room for; if not given, as many "
            + "as there are processors for",
        HelpName = "N",
    };

    private readonly Option<bool> _failFast = new(FailFast) { Description = "With --each: end all when one has failed" };

    private readonly Option<string> _shard = new(Shard)
    {
        Description = "With --each: only every N-th item, by the order of names, from the I-th on",
        HelpName = "I/N",
    };

    public IEnumerable<Option> All => [_each, _parallel, _failFast, _shard];

    /// <returns>Null where one run was asked for.</returns>
    /// <exception cref="UsageException">Something does not fit.</exception>
    public ManyOptions? Read(ParseResult result, RunOptions options)
    {
        if (result.GetValue(_each) is not { } each)
        {
            foreach (Option option in (Option[])[_parallel, _failFast, _shard])
            {
                if (result.GetResult(option) is { Implicit: false })
                {
                    throw new UsageException($"{option.Name}: goes with --each");
                }
            }

            return null;
        }

        if (options.Terminal)
        {
            throw new UsageException("--each: the runs have no terminal; leave -t out");
        }

        IReadOnlyList<string> items = RunItems.Find(each);
        return new ManyOptions
        {
            Items = result.GetValue(_shard) is { } shard ? RunItems.Take(items, RunItems.ParseShard(shard)) : items,
            Command = options.Command,
            Vmm = OptionsForOne(OwnCommandLine.Read()),
            Parallel = result.GetValue(_parallel) is { } parallel
                ? ParseParallel(parallel)
                : Math.Max(1, Environment.ProcessorCount / options.Machine.Cpus),
            Memory = options.Machine.Memory,
            FailFast = result.GetValue(_failFast),
            ShowAll = options.ShowConsole,
            Reports = options.Reports,
        };
    }

    internal static IReadOnlyList<string> OptionsForOne(OwnCommandLine own)
    {
        int end = own.Arguments.ToList().IndexOf("--");
        if (end < 0)
        {
            throw new UsageException("--each: write -- before the command: vmm run --each 'tests/*.sh' -- sh {}");
        }

        List<string> words = [.. own.Program];
        for (int i = 0; i < end; i++)
        {
            string word = own.Arguments[i];
            if (NotForOne.Contains(word))
            {
                i++;
            }
            else if (word != FailFast && !NotForOne.Contains(word.Split('=')[0]))
            {
                words.Add(word);
            }
        }

        return words;
    }

    private static int ParseParallel(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number is >= 1 and <= 1024
            ? number
            : throw new UsageException($"--parallel {text}: takes a number from 1 to 1024");
}
