using System.Buffers.Binary;
using Vmm.Devices.Memory;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Balloon;

/// <summary>A memory balloon (virtio 1.2, section 5.5): the guest gives pages back to the host, because it was asked to (the
/// target), or because it does not use them (free page reporting).</summary>
/// <remarks>VIRTIO_BALLOON_F_MUST_TELL_HOST is not offered: a page that the guest uses again without telling the device reads
/// as zeros.</remarks>
public sealed partial class VirtioBalloon : VirtioDevice
{
    private const uint DeviceIdBalloon = 5;
    private const int InflateQueue = 0;
    private const int DeflateQueue = 1;
    private const int StatisticsQueue = 2;
    private const ushort QueueLength = 64;
    private const ulong Offered = BalloonConfig.StatisticsQueue | BalloonConfig.DeflateOnOom
        | BalloonConfig.PagePoison | BalloonConfig.PageReporting;

    private readonly GuestMemory _memory;
    private readonly IBalloonMemory _host;
    private readonly IoVector[] _buffers = new IoVector[QueueLength];
    private readonly byte[] _config = new byte[BalloonConfig.Length];
    private readonly uint _memoryPages;

    /// <param name="name">The name in messages and statistics: <c>virtio-balloon0</c>.</param>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="host">Takes pages.</param>
    /// <param name="time">For the age of statistics.</param>
    public VirtioBalloon(string name, GuestMemory memory, IBalloonMemory host, TimeProvider? time = null)
        : base(name, DeviceIdBalloon, Offered, QueueLength, QueueLength, QueueLength, QueueLength, QueueLength)
    {
        _memory = memory;
        _host = host;
        _memoryPages = (uint)Math.Min(memory.Size / BalloonConfig.PageBytes, uint.MaxValue);
        Time = time ?? TimeProvider.System;
    }

    /// <inheritdoc/>
    public override int ConfigLength => BalloonConfig.Length;

    /// <summary>Bytes that the guest is asked to do without; a multiple of 4096, at most its memory. It gives as much of it as it
    /// can. Any thread.</summary>
    public ulong Target
    {
        get => Pages(BalloonConfig.TargetOffset);
        set
        {
            ulong pages = value / BalloonConfig.PageBytes;
            ArgumentOutOfRangeException.ThrowIfGreaterThan(pages, _memoryPages, nameof(value));
            lock (Gate)
            {
                if (SetField(BalloonConfig.TargetOffset, (uint)pages))
                {
                    ConfigChanged();
                }
            }
        }
    }

    /// <summary>Bytes that the guest does without, as it says. Any thread.</summary>
    public ulong Actual => Pages(BalloonConfig.ActualOffset);

    /// <summary>Bytes that went back to the host so far, those that it had never given included; for statistics. Any
    /// thread.</summary>
    public ulong Released => Volatile.Read(ref _released);

    /// <summary>How often the host refused to take pages. Any thread.</summary>
    public long Failures => Volatile.Read(ref _failures);

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data) =>
        _config.AsSpan(offset, data.Length).CopyTo(data);

    /// <inheritdoc/>
    protected internal override void WriteConfig(int offset, ReadOnlySpan<byte> data)
    {
        if (data.Length == sizeof(uint) && (offset == BalloonConfig.ActualOffset
            || (offset == BalloonConfig.PoisonOffset && (NegotiatedFeatures & BalloonConfig.PagePoison) != 0)))
        {
            data.CopyTo(_config.AsSpan(offset));
        }
    }

    /// <inheritdoc/>
    protected internal override void Reset()
    {
        // After a reset the balloon is empty.
        SetField(BalloonConfig.ActualOffset, 0);
        SetField(BalloonConfig.PoisonOffset, 0);
        _asked = _wanted = false;
    }

    /// <inheritdoc/>
    protected internal override void StopQueue(Virtqueue queue)
    {
        if (queue.Index == StatisticsQueue)
        {
            ReturnHeldBuffer(queue);
        }
    }

    /// <inheritdoc/>
    protected internal override void ReturnBuffers()
    {
        if (_isHeld && TryGetQueue(StatisticsQueue, out Virtqueue? queue))
        {
            _isHeld = false;
            queue.ReturnToQueue(_held);
        }
    }

    /// <inheritdoc/>
    protected internal override void Save(StateWriter state)
    {
        base.Save(state);
        state.Write("target", Field(BalloonConfig.TargetOffset));
        state.Write("actual", Field(BalloonConfig.ActualOffset));
        state.Write("poison", Field(BalloonConfig.PoisonOffset));
    }

    /// <inheritdoc/>
    protected internal override void Load(StateReader state)
    {
        base.Load(state);
        SetField(BalloonConfig.TargetOffset, state.UInt32("target", _memoryPages));
        SetField(BalloonConfig.ActualOffset, state.UInt32("actual"));
        SetField(BalloonConfig.PoisonOffset, state.UInt32("poison"));
    }

    /// <inheritdoc/>
    protected override void ProcessQueue(Virtqueue queue)
    {
        switch (queue.Index)
        {
            case InflateQueue:
            case DeflateQueue:
                ProcessPages(queue);
                break;
            case StatisticsQueue when (NegotiatedFeatures & BalloonConfig.StatisticsQueue) != 0:
                ProcessStatistics(queue);
                break;

            // Section 5.5.2 numbers the reporting queue 4; Linux and QEMU count only queues whose features are in force, and
            // there it is 3, or 2 without statistics.
            default:
                ProcessReports(queue);
                break;
        }
    }

    private uint Field(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(offset));

    private bool SetField(int offset, uint value)
    {
        bool changes = Field(offset) != value;
        BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(offset), value);
        return changes;
    }

    private ulong Pages(int offset)
    {
        lock (Gate)
        {
            return (ulong)Field(offset) * BalloonConfig.PageBytes;
        }
    }
}

/// <summary>Gives memory of the guest back to the host.</summary>
public interface IBalloonMemory
{
    /// <summary>The pages go back to the host now; what reads them later finds zeros. Called on the event loop's thread.</summary>
    /// <param name="address">Address in this process, within one region of guest memory; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, at least that.</param>
    /// <returns>False when the host refused: the pages keep their content.</returns>
    bool Release(nint address, nuint length);
}
