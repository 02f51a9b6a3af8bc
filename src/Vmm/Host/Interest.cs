namespace Vmm.Host;

/// <summary>One descriptor on the event loop, and the events it is watched for. Any thread may change these; the loop is called
/// only when they really change.</summary>
internal sealed class Interest : IDisposable
{
    private readonly EventLoop _loop;
    private readonly EventLoop.Watch _watch;
    private readonly Lock _changing = new();
    private int _events;
    private bool _isGone;

    /// <param name="handler">Gets the events that are ready, on the loop's thread. Errors and hang-ups are always reported,
    /// again and again: the handler then disposes this.</param>
    public Interest(EventLoop loop, int fd, int events, Action<int> handler)
    {
        _loop = loop;
        _events = events;
        _watch = loop.Add(fd, events, handler);
    }

    /// <summary>Adds or removes one kind of event.</summary>
    public void Set(int events, bool want)
    {
        lock (_changing)
        {
            int now = want ? _events | events : _events & ~events;
            if (now != _events && !_isGone)
            {
                _events = now;
                _loop.Change(_watch, now);
            }
        }
    }

    /// <summary>Is it watched for that?</summary>
    public bool Has(int events)
    {
        lock (_changing)
        {
            return (_events & events) != 0;
        }
    }

    public void Dispose()
    {
        lock (_changing)
        {
            if (!_isGone)
            {
                _isGone = true;
                _loop.Remove(_watch);
            }
        }
    }
}
