using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>Simulates a bad line (<c>loss=</c>, <c>delay=</c>) in both directions: the same frames are lost for the same seed
/// and the same traffic. Delayed frames are in buffers of fixed size; when one is full, frames are lost too.</summary>
internal sealed class FaultyNet : INetBackend, INetCard, IDisposable
{
    private const int RingBytes = 4 << 20;
    private const int FramesPerTurn = 128;

    private readonly INetBackend _inner;
    private readonly NetFaults _faults;
    private readonly TimeProvider _time;
    private readonly long _delay;       // in ticks of the clock
    private readonly Random _sendRandom;
    private readonly Random _receiveRandom;
    private readonly FrameRing[] _sending = [];
    private readonly FrameRing[] _receiving = [];
    private readonly bool[] _wants;
    private readonly bool[] _blocked;
    private readonly byte[] _frame = [];    // pinned
    private readonly ILoopTimer? _timer;
    private INetCard _card = null!;
    private long _timerDue = long.MaxValue;
    private long _sendDropped;
    private long _receiveDropped;

    /// <param name="inner">Owned from now on.</param>
    /// <param name="createTimer">Makes a timer on the event loop.</param>
    public FaultyNet(INetBackend inner, NetFaults faults, TimeProvider time, Func<Action, ILoopTimer> createTimer)
    {
        _inner = inner;
        _faults = faults;
        _time = time;
        _delay = faults.DelayMilliseconds * time.TimestampFrequency / 1000;
#pragma warning disable CA5394 // not for secrets: it must be reproducible
        _sendRandom = new Random(faults.Seed);
        _receiveRandom = new Random(~faults.Seed);
#pragma warning restore CA5394
        _wants = new bool[inner.QueuePairs];
        _blocked = new bool[inner.QueuePairs];
        if (_delay != 0)
        {
            _sending = [.. _wants.Select(_ => new FrameRing(RingBytes))];
            _receiving = [.. _wants.Select(_ => new FrameRing(RingBytes))];
            _frame = GC.AllocateUninitializedArray<byte>(VirtioNet.HeaderBytes + VirtioNet.MostFrameBytes, pinned: true);
            _timer = createTimer(() =>
            {
                _timerDue = long.MaxValue;
                Turn();
            });
        }
    }

    public NetOffloads Offloads => _inner.Offloads;

    public int QueuePairs => _inner.QueuePairs;

    public long SendDropped => _sendDropped + _inner.SendDropped;

    public long ReceiveDropped => _receiveDropped + _inner.ReceiveDropped;

    public void Attach(INetCard card)
    {
        _card = card;
        _inner.Attach(this);
    }

    public void Configure(NetOffloads accepted, int pairs)
    {
        _inner.Configure(accepted, pairs);
        for (int i = 0; i < _receiving.Length; i++)
        {
            _inner.WantReceive(i, i < pairs);       // also without buffers: the delay does not depend on the guest
        }
    }

    public bool TrySend(int pair, ReadOnlySpan<IoVector> frame)
    {
        if (IsLost(_sendRandom))
        {
            _sendDropped++;
            return true;
        }

        if (_delay == 0)
        {
            return _inner.TrySend(pair, frame);
        }

        if (!_sending[pair].TryAdd(_time.GetTimestamp() + _delay, frame))
        {
            _sendDropped++;
        }

        SetTimer();
        return true;
    }

    public int Receive(int pair, ReadOnlySpan<IoVector> buffers)
    {
        if (_delay == 0)
        {
            // A bounded number of attempts: a line that loses all frames must not delay other devices.
            for (int i = 0; i < FramesPerTurn; i++)
            {
                int length = _inner.Receive(pair, buffers);
                if (length == 0 || !IsLost(_receiveRandom))
                {
                    return length;
                }

                _receiveDropped++;
            }

            return 0;
        }

        FrameRing ring = _receiving[pair];
        if (ring.IsEmpty || ring.Due > _time.GetTimestamp())
        {
            return 0;
        }

        int copied = IoVectors.Fill(buffers, ring.First, []);
        ring.RemoveFirst();
        return copied;
    }

    public void WantReceive(int pair, bool want)
    {
        _wants[pair] = want;
        if (_delay == 0)
        {
            _inner.WantReceive(pair, want);
        }
        else if (want)
        {
            SetTimer();
        }
    }

    public void ReceiveReady(int pair)
    {
        if (_delay == 0)
        {
            _card.ReceiveReady(pair);
            return;
        }

        var buffer = new IoVector(Marshal.UnsafeAddrOfPinnedArrayElement(_frame, 0), (nuint)_frame.Length);
        for (int i = 0; i < FramesPerTurn; i++)
        {
            int length = _inner.Receive(pair, new ReadOnlySpan<IoVector>(in buffer));
            if (length == 0)
            {
                break;
            }

            var frame = new IoVector(buffer.Base, (nuint)length);
            if (length < VirtioNet.HeaderBytes || IsLost(_receiveRandom)
                || !_receiving[pair].TryAdd(_time.GetTimestamp() + _delay, new ReadOnlySpan<IoVector>(in frame)))
            {
                _receiveDropped++;
            }
        }

        SetTimer();
    }

    public void SendReady(int pair)
    {
        if (_delay == 0)
        {
            _card.SendReady(pair);
        }
        else
        {
            _blocked[pair] = false;
            Turn();
        }
    }

    public void SetLink(bool up) => _card.SetLink(up);

    public void Dispose()
    {
        _timer?.Dispose();
        (_inner as IDisposable)?.Dispose();
    }

    private bool IsLost(Random random)
    {
#pragma warning disable CA5394
        return _faults.LossRate > 0 && random.NextDouble() < _faults.LossRate;
#pragma warning restore CA5394
    }

    /// <summary>Passes on the frames that are due.</summary>
    private void Turn()
    {
        long now = _time.GetTimestamp();
        Span<IoVector> frame = stackalloc IoVector[2];
        for (int i = 0; i < _wants.Length; i++)
        {
            FrameRing sending = _sending[i];
            for (int budget = FramesPerTurn; budget > 0 && !_blocked[i] && !sending.IsEmpty && sending.Due <= now; budget--)
            {
                sending.Peek(frame);
                _blocked[i] = !_inner.TrySend(i, frame);        // SendReady continues
                if (!_blocked[i])
                {
                    sending.RemoveFirst();
                }
            }

            if (_wants[i] && !_receiving[i].IsEmpty && _receiving[i].Due <= now)
            {
                _card.ReceiveReady(i);
            }
        }

        SetTimer();
    }

    /// <summary>Sets the timer to the time at which the next frame is due.</summary>
    private void SetTimer()
    {
        long next = long.MaxValue;
        for (int i = 0; i < _wants.Length; i++)
        {
            next = Math.Min(next, _blocked[i] || _sending[i].IsEmpty ? long.MaxValue : _sending[i].Due);
            next = Math.Min(next, !_wants[i] || _receiving[i].IsEmpty ? long.MaxValue : _receiving[i].Due);
        }

        if (next < _timerDue)
        {
            _timerDue = next;
            long left = Math.Max(0, next - _time.GetTimestamp());
            _timer!.Set(TimeSpan.FromSeconds((double)left / _time.TimestampFrequency));
        }
    }
}
