using System.Buffers.Binary;

namespace Vmm.Devices.Virtio.Balloon;

/// <summary>Statistics (virtio 1.2, section 5.5.6.3): the driver makes one buffer available in advance. The device returns it
/// to ask for statistics, and the driver makes it available again with current figures.</summary>
public sealed partial class VirtioBalloon
{
    private const int EntryBytes = 10;      // tag:16, value:64, packed
    private const int MostEntries = 64;     // more than there are tags; others are of no interest
    private const string NoEntries = "statistics are no whole number of entries";
    private const string TwoAnswers = "a second buffer for statistics is available";

    private readonly ulong[] _values = new ulong[8];    // by VIRTIO_BALLOON_S_*, of which SWAP_IN is 0 and CACHES 7
    private uint _known;                                // a bit for each value that the guest reported
    private long _told;
    private DescriptorChain _held;
    private bool _isHeld;
    private bool _asked;        // the driver has the buffer, to fill in current figures
    private bool _wanted;       // figures were asked for, and there was no buffer to return yet

    /// <summary>Current figures arrived. Raised on the event loop's thread with the device's lock held: handlers only store
    /// that.</summary>
    public event Action? StatisticsCame;

    /// <summary>The guest's last figures; null before the first. Any thread.</summary>
    public BalloonStatistics? Statistics
    {
        get
        {
            lock (Gate)
            {
                return _known == 0 ? null : new BalloonStatistics
                {
                    Age = Time.GetElapsedTime(_told),
                    SwappedIn = Value(0),
                    SwappedOut = Value(1),
                    MajorFaults = Value(2),
                    MinorFaults = Value(3),
                    Free = Value(4),
                    Total = Value(5),
                    Available = Value(6),
                    Caches = Value(7),
                };
            }
        }
    }

    /// <summary>Asks the guest for current figures; <see cref="StatisticsCame"/> is raised if it answers. Any thread.</summary>
    /// <returns>False when the guest has no driver that reports statistics.</returns>
    public bool AskForStatistics()
    {
        lock (Gate)
        {
            if ((NegotiatedFeatures & BalloonConfig.StatisticsQueue) == 0
                || !TryGetRunning(StatisticsQueue, out Virtqueue? queue))
            {
                return false;
            }

            _wanted = !_asked;
            ProcessStatistics(queue);
            return true;
        }
    }

    private void ProcessStatistics(Virtqueue queue)
    {
        // Notifications stay on: one buffer comes for each question.
        while (queue.TryPop(_buffers, out DescriptorChain chain))
        {
            if (_isHeld || !TryReadStatistics(chain))
            {
                queue.Refuse(_isHeld ? TwoAnswers : NoEntries);
                return;
            }

            _held = chain;
            _isHeld = true;
            if (_asked)
            {
                _asked = false;
                StatisticsCame?.Invoke();
            }
        }

        if (_wanted && _isHeld)
        {
            _wanted = false;
            _asked = true;
            ReturnHeldBuffer(queue);
        }
    }

    private void ReturnHeldBuffer(Virtqueue queue)
    {
        if (_isHeld)
        {
            _isHeld = false;
            queue.Complete(_held, 0);
            queue.Publish();
        }
    }

    private bool TryReadStatistics(in DescriptorChain chain)
    {
        if (chain.ReadableBytes == 0 || chain.ReadableBytes % EntryBytes != 0)
        {
            return false;
        }

        Span<byte> entries = stackalloc byte[MostEntries * EntryBytes];
        entries = entries[..VirtqueueBuffers.CopyFrom(_buffers.AsSpan(0, chain.Readable), entries)];
        _known = 0;
        for (; !entries.IsEmpty; entries = entries[EntryBytes..])
        {
            // Section 5.5.6.4: in any order; tags that are not known are skipped.
            int tag = BinaryPrimitives.ReadUInt16LittleEndian(entries);
            if (tag < _values.Length)
            {
                _values[tag] = BinaryPrimitives.ReadUInt64LittleEndian(entries[sizeof(ushort)..]);
                _known |= 1u << tag;
            }
        }

        _told = Time.GetTimestamp();
        return true;
    }

    private ulong? Value(int tag) => (_known & (1u << tag)) != 0 ? _values[tag] : null;
}
