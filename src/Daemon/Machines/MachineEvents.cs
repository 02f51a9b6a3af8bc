using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Vmm.Daemon.Api;

namespace Vmm.Daemon.Machines;

/// <summary>What happens to machines, for those who listen. Any thread.</summary>
internal sealed class MachineEvents(TimeProvider time)
{
    private const int MostWaiting = 256;

    private readonly Lock _lock = new();
    private readonly List<Channel<MachineEvent>> _listeners = [];
    private long _last;

    /// <summary>Never waits: a listener that lets too much wait is cut off, and has to look at the list anew.</summary>
    public void Tell(MachineEvent happened)
    {
        lock (_lock)
        {
            MachineEvent numbered = happened with { Id = ++_last, Time = time.GetUtcNow() };
            for (int i = _listeners.Count - 1; i >= 0; i--)
            {
                if (!_listeners[i].Writer.TryWrite(numbered))
                {
                    _listeners[i].Writer.Complete();
                    _listeners.RemoveAt(i);
                }
            }
        }
    }

    /// <summary>What happens from this call on, not from the first step on.</summary>
    public IAsyncEnumerable<MachineEvent> Listen(CancellationToken cancellation)
    {
        var channel = Channel.CreateBounded<MachineEvent>(new BoundedChannelOptions(MostWaiting) { SingleReader = true });
        lock (_lock)
        {
            _listeners.Add(channel);
        }

        return Read(channel, cancellation);
    }

    private async IAsyncEnumerable<MachineEvent> Read(
        Channel<MachineEvent> channel, [EnumeratorCancellation] CancellationToken cancellation)
    {
        try
        {
            await foreach (MachineEvent happened in channel.Reader.ReadAllAsync(cancellation))
            {
                yield return happened;
            }
        }
        finally
        {
            lock (_lock)
            {
                _listeners.Remove(channel);
            }
        }
    }
}
