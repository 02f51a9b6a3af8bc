using System.Diagnostics;
using System.Globalization;
using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Run.Many;

/// <summary>Runs the items of <c>--each</c>, each in a vmm process of its own, so many at a time.</summary>
internal sealed class ManyRuns : IDisposable
{
    private static readonly TimeSpan Redraw = TimeSpan.FromMilliseconds(200), LastChance = TimeSpan.FromSeconds(3);

    private readonly ManyOptions _options;
    private readonly EventLoop _loop = new();
    private readonly RunSignals _signals;
    private readonly ManyReports _reports;
    private readonly ManyProgress _progress;
    private readonly Dictionary<ChildRun, EventLoop.Watch> _running = [];
    private readonly RunResult?[] _results;
    private int _next;
    private int? _signal;
    private readonly Func<ulong> _available;
    private bool _isStopping, _hasToldOfMemory;
    private long _stopped;

    /// <param name="available">Bytes of memory that are free; null: as the host reports.</param>
    /// <exception cref="UsageException">A file cannot be written.</exception>
    public ManyRuns(ManyOptions options, Func<ulong>? available = null)
    {
        (_options, _available) = (options, available ?? HostMemory.Available);
        _results = new RunResult?[options.Items.Count];
        _progress = new ManyProgress(options.Items.Count, options.ShowAll);
        _reports = new ManyReports(options);
        _signals = new RunSignals(_loop, static signal => signal == LibC.SIGUSR2, Stop, static () => { });       // SIGUSR2 is for commands only
    }

    /// <summary>Runs them all.</summary>
    /// <returns>The exit code: 0 when all passed, 1 when one did not, 128 + N when signal N ended it.</returns>
    public int Run()
    {
        var clock = Stopwatch.StartNew();
        int most = Math.Min(_options.Parallel, _options.Items.Count);
        Stderr.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"vmm: {_options.Items.Count} run{(_options.Items.Count == 1 ? "" : "s")}, at most {most} at a time"));
        while (_running.Count > 0 || (!_isStopping && _next < _options.Items.Count))
        {
            while (!_isStopping && _running.Count < most && _next < _options.Items.Count && HasMemory(_options.Items[_next]))
            {
                Start(_next++);
            }

            _progress.Show(_running.Keys.Select(static child => (child.Item.Name, child.Elapsed)));
            _loop.Turn((int)Redraw.TotalMilliseconds);
            if (_isStopping && Stopwatch.GetElapsedTime(_stopped) > LastChance)
            {
                foreach (ChildRun child in _running.Keys)
                {
                    child.Kill();
                }
            }
        }

        return _reports.Conclude(_results, _progress, clock.Elapsed, _signal);
    }

    public void Dispose()
    {
        foreach (ChildRun child in _running.Keys)
        {
            child.Kill();
            child.Dispose();
        }

        _signals.Dispose();
        _loop.Dispose();
        _reports.Dispose();
    }

    private void Start(int place)
    {
        RunItem item = _options.Items[place];
        ChildRun child = ChildRun.Start(item, _reports.OptionsFor(item, place));
        EventLoop.Watch watch = null!;
        watch = _loop.Add(child.End, LibC.EPOLLIN, _ =>
        {
            _loop.Remove(watch);
            _running.Remove(child);
            using (child)
            {
                RunResult result = child.Finish();
                if (!_isStopping || result.Verdict is RunOutcome.Passed or RunOutcome.Failed)
                {
                    _results[place] = result;
                    _progress.Ended(result, child.Elapsed, child.Output);
                    StopAfter(result);
                }
            }
        }, "a run");
        _running.Add(child, watch);
    }

    private void StopAfter(RunResult result)
    {
        if (_options.FailFast && result.Verdict != RunOutcome.Passed)
        {
            StopAll();
        }
    }

    private void Stop(int signal)
    {
        _signal ??= signal;
        if (_isStopping)
        {
            foreach (ChildRun child in _running.Keys)
            {
                child.Kill();
            }
        }

        StopAll();
    }

    private void StopAll()
    {
        if (_isStopping)
        {
            return;
        }

        (_isStopping, _stopped) = (true, Stopwatch.GetTimestamp());
        foreach (ChildRun child in _running.Keys)
        {
            child.Stop();
        }
    }

    /// <summary>Is there memory for one more, considering what the running ones may still allocate? One may always run.</summary>
    private bool HasMemory(RunItem item)
    {
        if (_running.Count == 0)
        {
            return true;
        }

        ulong promised = 0;
        foreach (ChildRun child in _running.Keys)
        {
            promised += child.Item.MemoryNeeded - Math.Min(child.Item.MemoryNeeded, child.Resident);
        }

        ulong available = _available();
        if (available >= promised + item.MemoryNeeded)
        {
            return true;
        }

        if (!_hasToldOfMemory)
        {
            _hasToldOfMemory = true;
            _progress.Note(string.Create(
                CultureInfo.InvariantCulture,
                $"{_running.Count} at a time for now: of {available >> 20} MiB that are free those that run may take {promised >> 20}, and one "
                + $"more needs {item.MemoryNeeded >> 20}; a smaller --mem lets more run"));
        }

        return false;
    }
}
