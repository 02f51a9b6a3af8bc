using Vmm.Host;

namespace Vmm.Insight.Trace;

/// <summary>Writes the events of all tracks to a file as they come, on a thread of its own.</summary>
internal sealed class TraceWriter : IDisposable
{
    private readonly string _path;
    private readonly TraceFormat _format;
    private readonly List<TraceTrack> _tracks = [];
    private readonly Lock _adding = new();
    private readonly AutoResetEvent _wake = new(false);
    private readonly HostThread _thread;
    private volatile bool _ending;

    /// <param name="origin">The Stopwatch timestamp that becomes time 0.</param>
    /// <exception cref="UsageException">It cannot be written.</exception>
    public TraceWriter(string path, long origin)
    {
        _path = path;
        File = OutputFile.Open(path, "--trace");
        _format = new TraceFormat(File, origin);
        _thread = HostThread.Start("vmm-trace", 256 * 1024, Run);
    }

    /// <summary>Tells whether all could be written.</summary>
    public OutputFile File { get; }

    /// <summary>Events that were dropped because a ring was full, on all tracks.</summary>
    public long Dropped
    {
        get
        {
            lock (_adding)
            {
                return _tracks.Sum(track => track.Dropped);
            }
        }
    }

    public TraceTrack AddTrack(string name)
    {
        lock (_adding)
        {
            var track = new TraceTrack(_tracks.Count + 1, name, () => _wake.Set());
            _tracks.Add(track);
            return track;
        }
    }

    /// <summary>Writes what is left and completes the file. No thread adds events any more.</summary>
    /// <param name="last">Adds events of its own, on tracks numbered from the one given.</param>
    public void Finish(Action<TraceFormat, int>? last = null)
    {
        Stop();
        last?.Invoke(_format, _tracks.Count + 1);
        _format.Finish(Dropped);
        if (Dropped > 0)
        {
            Stderr.WriteLine($"vmm: {_path}: {Dropped} events dropped: they came faster than the file could take them");
        }
    }

    public void Dispose()
    {
        if (!_ending)
        {
            Stop();             // nothing ran
            _format.Discard();
        }

        _format.Dispose();
        File.Dispose();
        _wake.Dispose();
    }

    private void Stop()
    {
        _ending = true;
        _wake.Set();
        _thread.Join();
    }

    private void Run()
    {
        int named = 0;
        bool isMore;
        bool ending;
        do
        {
            _wake.WaitOne();
            ending = _ending;       // read before the rings are: nothing comes after it was set
            TraceTrack[] tracks;
            lock (_adding)
            {
                tracks = [.. _tracks];
            }

            for (; named < tracks.Length; named++)
            {
                _format.Track(tracks[named].Id, tracks[named].Name);
            }

            isMore = false;
            foreach (TraceTrack track in tracks)
            {
                isMore |= Drain(track);
            }

            if (isMore)
            {
                _wake.Set();
            }
        }
        while (isMore || !ending);
    }

    /// <summary>Writes at most as many events as a ring holds, so that a busy track does not delay the others.</summary>
    /// <returns>True when there may be more.</returns>
    private bool Drain(TraceTrack track)
    {
        for (int i = 0; i < TraceTrack.Capacity; i++)
        {
            if (!track.TryTake(out TraceEvent taken))
            {
                return false;
            }

            _format.Event(track.Id, taken);
        }

        return true;
    }
}
