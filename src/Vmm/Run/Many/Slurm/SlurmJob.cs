using System.Diagnostics;
using System.Globalization;
using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Run.Many.Slurm;

/// <summary>One array job: its runs and its progress.</summary>
internal sealed class SlurmJob
{
    private const int MostTries = 3;

    /// <summary>How often Slurm is asked; and how long a file may take to appear here after a node wrote it.</summary>
    private static readonly TimeSpan AskAgain = TimeSpan.FromSeconds(2), Late = TimeSpan.FromSeconds(5);

    private readonly string _directory;
    private readonly Dictionary<int, long> _begun = [];
    private readonly HashSet<int> _ended = [];
    private readonly Dictionary<int, long> _overSince = [];
    private readonly HashSet<int> _lost = [];
    private long _asked;

    private SlurmJob(string id, string directory, IReadOnlyDictionary<int, IReadOnlyList<int>> shards) =>
        (Id, _directory, Shards) = (id, directory, shards);

    public string Id { get; }

    /// <summary>The indices of the runs of each task.</summary>
    public IReadOnlyDictionary<int, IReadOnlyList<int>> Shards { get; }

    /// <summary>Has every run of it ended, or its task been lost?</summary>
    public bool IsOver { get; private set; }

    /// <summary>The runs that have started and not ended.</summary>
    public IEnumerable<(int Place, TimeSpan Elapsed)> Running => _begun
        .Where(each => !_ended.Contains(each.Key) && !_lost.Any(shard => Shards[shard].Contains(each.Key)))
        .Select(static each => (each.Key, Stopwatch.GetElapsedTime(each.Value)));

    /// <exception cref="HostException">Slurm refuses the job.</exception>
    public static SlurmJob Submit(
        string directory, IReadOnlyDictionary<int, IReadOnlyList<int>> shards, ManyOptions options, SlurmPlace place, ManyReports reports)
    {
        Directory.CreateDirectory(directory);
        string script = Path.Combine(directory, "script");
        File.WriteAllText(script, SlurmScript.Format(directory, shards, number =>
        {
            RunItem item = options.Items[number];
            return
            [
                .. item.Vmm, .. reports.OptionsFor(item, number), RunReports.OneOfMany, Path.Combine(directory, $"{number}.json"), "--", .. item.Command,
            ];
        }));
        ulong memory = options.Items.Max(static item => item.MemoryNeeded);
        string tasks = string.Join(',', shards.Keys);
        string[] more = place.Partition is null ? [] : [$"--partition={place.Partition}"];
        return new SlurmJob(
            SlurmTools.Submit(
            [
                "--parsable", $"--array={tasks}{(options.IsParallelGiven ? $"%{options.Parallel}" : "")}", "--no-requeue", "--job-name=vmm",
                $"--cpus-per-task={options.Items.Max(static item => item.Cpus)}", $"--mem={(memory >> 20) + 1}M",
                $"--chdir={Environment.CurrentDirectory}", $"--output={Path.Combine(directory, "task.%a")}", .. more, script,
            ]),
            directory,
            shards);
    }

    /// <summary>A file of a run: its result (json), or its output (out).</summary>
    public string FileOf(int place, string kind) => Path.Combine(_directory, string.Create(CultureInfo.InvariantCulture, $"{place}.{kind}"));

    /// <summary>The runs that have ended since the last call.</summary>
    public IEnumerable<(int Place, int Code, TimeSpan Elapsed)> TakeEnded()
    {
        // Listed rather than looked up one by one: a network's file system asks its server for a list.
        foreach (string path in Directory.EnumerateFiles(_directory))
        {
            if (!int.TryParse(Path.GetFileNameWithoutExtension(path), NumberStyles.None, CultureInfo.InvariantCulture, out int place))
            {
                continue;
            }

            _begun.TryAdd(place, Stopwatch.GetTimestamp());
            if (path.EndsWith(".code", StringComparison.Ordinal) && !_ended.Contains(place)
                && int.TryParse(File.ReadAllText(path), NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out int code))
            {
                _ended.Add(place);
                yield return (place, code, Stopwatch.GetElapsedTime(_begun[place]));
            }
        }
    }

    /// <summary>The shards that have ended in Slurm with runs that have not: a node failed, or a limit was reached.</summary>
    public IEnumerable<(int Shard, string State, string Node)> TakeLost()
    {
        if (IsOver || (_asked != 0 && Stopwatch.GetElapsedTime(_asked) < AskAgain))
        {
            yield break;
        }

        _asked = Stopwatch.GetTimestamp();
        int[] open = [.. Shards.Where(shard => !_lost.Contains(shard.Key) && !shard.Value.All(_ended.Contains)).Select(static shard => shard.Key)];
        IsOver = open.Length == 0;
        if (IsOver || SlurmTools.Tasks(Id) is not { } tasks)
        {
            yield break;
        }

        foreach (int shard in open)
        {
            (string state, string node) = tasks.GetValueOrDefault(shard, ("unknown to Slurm", ""));
            if (tasks.ContainsKey(shard) && !SlurmTools.IsOver(state))
            {
                _overSince.Remove(shard);
                continue;
            }

            // The node's last files may not be visible here yet.
            if (_overSince.TryAdd(shard, Stopwatch.GetTimestamp()) || Stopwatch.GetElapsedTime(_overSince[shard]) < Late)
            {
                continue;
            }

            _lost.Add(shard);
            yield return (shard, state, node);
        }
    }

    /// <summary>Has all of it ended?</summary>
    public bool LookWhetherOver() => IsOver |= SlurmTools.Tasks(Id) is { } tasks && tasks.Values.All(static task => SlurmTools.IsOver(task.State));

    /// <summary>Only failed nodes lead to a repetition: a task that was cancelled is not repeated, and a limit of time or memory
    /// would be reached again.</summary>
    public static bool IsRepeated(string state, int times) =>
        times < MostTries && state is not ("CANCELLED" or "TIMEOUT" or "OUT_OF_MEMORY" or "DEADLINE");
}
