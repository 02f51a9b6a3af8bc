using System.Diagnostics;
using System.Globalization;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Run.Many.Slurm;

/// <summary>Many runs on a Slurm cluster: one array job, whose files are read from a file system that all nodes share. If a
/// shard's node fails, its unfinished runs are submitted again as another job.</summary>
internal sealed class SlurmRuns : IDisposable
{
    private static readonly TimeSpan Look = TimeSpan.FromSeconds(1), LastChance = TimeSpan.FromSeconds(20);

    private readonly ManyOptions _options;
    private readonly SlurmPlace _place;
    private readonly ManyProgress _progress;
    private readonly ManyReports _reports;
    private readonly EventLoop _loop = new();
    private readonly RunSignals _signals;
    private readonly string _directory;
    private readonly List<SlurmJob> _jobs = [];
    private readonly Dictionary<int, int> _losses = [];
    private readonly RunResult?[] _results;
    private int? _signal;
    private bool _isStopping;

    /// <exception cref="UsageException">A file cannot be written.</exception>
    public SlurmRuns(ManyOptions options, SlurmPlace place)
    {
        (_options, _place) = (options, place);
        _results = new RunResult?[options.Items.Count];
        _progress = new ManyProgress(options.Items.Count, options.ShowAll);
        _reports = new ManyReports(options);
        _directory = Path.Combine(Environment.CurrentDirectory, $".vmm-slurm-{Guid.NewGuid():N}");
        _signals = new RunSignals(_loop, static signal => signal == LibC.SIGUSR2, Stop, static () => { });
    }

    /// <returns>The exit code: 0 when all passed, 1 when one did not, 128 + N when signal N ended it.</returns>
    public int Run()
    {
        var clock = Stopwatch.StartNew();
        try
        {
            Directory.CreateDirectory(_directory);
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new UsageException($"--on slurm: {_directory}: {why}; it writes to this directory, which all nodes must see");
        }

        int shards = Math.Min(_place.Shards ?? SlurmPlace.MostShards, _options.Items.Count);
        Submit(Enumerable.Range(0, shards).Select(shard => KeyValuePair.Create<int, IReadOnlyList<int>>(
            shard, [.. Enumerable.Range(0, _options.Items.Count).Where(place => place % shards == shard)])));
        Stderr.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"vmm: {_options.Items.Count} runs in {shards} shards, Slurm job {_jobs[0].Id}"));
        while (!_isStopping && _results.Contains(null))
        {
            _jobs.ForEach(Collect);
            _progress.Show(_jobs.SelectMany(static job => job.Running).Select(each => (_options.Items[each.Place].Name, each.Elapsed)));
            _loop.Turn((int)Look.TotalMilliseconds);
        }

        // Results of runs that ended before the signal are still collected.
        _jobs.ForEach(Collect);
        Cancel();
        return _reports.Conclude(_results, _progress, clock.Elapsed, _signal);
    }

    public void Dispose()
    {
        Cancel();
        try
        {
            Directory.Delete(_directory, recursive: true);
        }
        catch (DirectoryNotFoundException)
        {
            // Never made.
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Stderr.WriteLine($"vmm: {_directory} cannot be deleted: {FileErrors.Describe(error)}");
        }

        _signals.Dispose();
        _loop.Dispose();
        _reports.Dispose();
    }

    private void Submit(IEnumerable<KeyValuePair<int, IReadOnlyList<int>>> shards)
    {
        string directory = Path.Combine(_directory, $"{_jobs.Count}");
        _jobs.Add(SlurmJob.Submit(directory, new SortedDictionary<int, IReadOnlyList<int>>(new Dictionary<int, IReadOnlyList<int>>(shards)), _options, _place, _reports));
    }

    /// <summary>Collects a job's new results, and submits its lost runs again.</summary>
    private void Collect(SlurmJob job)
    {
        foreach ((int place, int code, TimeSpan elapsed) in job.TakeEnded())
        {
            if (_results[place] is null)
            {
                string output = job.FileOf(place, "out");
                _results[place] = RunEnd.Of(_options.Items[place], job.FileOf(place, "json"), output, code, elapsed);
                _progress.Ended(_results[place]!, elapsed, output);
                _isStopping |= _options.FailFast && _results[place]!.Verdict != RunOutcome.Passed;
            }
        }

        var again = new List<KeyValuePair<int, IReadOnlyList<int>>>();
        foreach ((int shard, string state, string node) in _isStopping ? [] : job.TakeLost())
        {
            IReadOnlyList<int> left = [.. job.Shards[shard].Where(place => _results[place] is null)];
            int times = _losses[shard] = _losses.GetValueOrDefault(shard) + 1;
            string what = string.Create(
                CultureInfo.InvariantCulture, $"shard {shard + 1} was lost: {state}{(node.Length > 0 ? $" on {node}" : "")}");
            if (SlurmJob.IsRepeated(state, times))
            {
                _progress.Note($"{what}; it runs again: {string.Join(", ", left.Select(place => _options.Items[place].Name))}");
                again.Add(KeyValuePair.Create(shard, left));
                continue;
            }

            foreach (int place in left)
            {
                _results[place] = RunEnd.Without(_options.Items[place], $"{what}, {times} times", RunVerdict.VmmFailed, TimeSpan.Zero);
                _progress.Ended(_results[place]!, TimeSpan.Zero, job.FileOf(place, "out"));
            }
        }

        if (again.Count > 0)
        {
            // Posted, because the list of jobs is being iterated.
            _loop.Post(() => Submit(again));
        }
    }

    private void Stop(int signal) => (_signal, _isStopping) = (_signal ?? signal, true);

    /// <summary>Cancels all running jobs and waits for their end: the directory of their files is deleted afterwards.</summary>
    private void Cancel()
    {
        var clock = Stopwatch.StartNew();
        List<SlurmJob> left = [.. _jobs.Where(static job => !job.IsOver)];
        left.ForEach(static job => SlurmTools.Cancel(job.Id));
        while (left.RemoveAll(static job => job.LookWhetherOver()) >= 0 && left.Count > 0 && clock.Elapsed < LastChance)
        {
            Thread.Sleep(Look / 4);
        }

        _jobs.Clear();
    }
}
