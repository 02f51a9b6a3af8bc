using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>Fails on purpose (<c>fault=</c>), the same way for the same seed and the same requests.</summary>
internal sealed class FaultyDisk : DiskFilter
{
    private readonly DiskFaults _faults;
    private readonly Random _random;
    private readonly TimeProvider _time;
    private readonly TimeSpan _latency;
    private readonly ILoopTimer? _timer;
    private readonly Queue<(DiskCompletion Completion, long Arrived)> _late = new();
    private readonly Dictionary<int, IoVector[]> _torn = [];

    public FaultyDisk(DiskNode inner, DiskFaults faults, TimeProvider time, Func<Action, ILoopTimer> createTimer)
        : base(inner)
    {
        _faults = faults;
#pragma warning disable CA5394 // not for secrets: it must be reproducible
        _random = new Random(faults.Seed);
#pragma warning restore CA5394
        _time = time;
        _latency = TimeSpan.FromMilliseconds(faults.LatencyMilliseconds);
        _timer = faults.LatencyMilliseconds == 0 ? null : createTimer(CompleteDue);
    }

    public override void Enqueue(in DiskRequest request)
    {
#pragma warning disable CA5394
        if (_faults.ErrorRate > 0 && _random.NextDouble() < _faults.ErrorRate)
#pragma warning restore CA5394
        {
            Over(new DiskCompletion(request.Tag, DiskResult.Error));
            return;
        }

        if (request.Operation == DiskOperation.Write && _faults.TornSector is { } sector
            && sector <= ulong.MaxValue / 512 && sector * 512 > request.Offset
            && sector * 512 - request.Offset < request.Length)
        {
            // Its own shortened vectors; this is for tests, so it may allocate.
            ulong whole = (sector * 512) - request.Offset;
            IoVector[] vectors = GC.AllocateArray<IoVector>(request.VectorCount, pinned: true);
            int count = IoVectors.Slice(request.Vectors, request.VectorCount, 0, ref whole, vectors);
            _torn[request.Tag] = vectors;
            Inner.Enqueue(request with
            {
                Length = whole,
                Vectors = Marshal.UnsafeAddrOfPinnedArrayElement(vectors, 0),
                VectorCount = count,
            });
            return;
        }

        Inner.Enqueue(request);
    }

    public override void Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        foreach (DiskCompletion completion in completions)
        {
            Over(_torn.Remove(completion.Tag) ? completion with { Result = DiskResult.Error } : completion);
        }

        Deliver();
    }

    public override void Close()
    {
        Inner.Close();
        _late.Clear();
    }

    public override void Dispose()
    {
        _timer?.Dispose();
        base.Dispose();
    }

    private void Over(DiskCompletion completion)
    {
        if (_timer is null)
        {
            Complete(completion.Tag, completion.Result);
            return;
        }

        _late.Enqueue((completion, _time.GetTimestamp()));
        if (_late.Count == 1)
        {
            _timer.Set(_latency);
        }
    }

    private void CompleteDue()
    {
        while (_late.TryPeek(out var late))
        {
            TimeSpan left = _latency - _time.GetElapsedTime(late.Arrived);
            if (left > TimeSpan.Zero)
            {
                _timer!.Set(left);
                break;
            }

            _late.Dequeue();
            Complete(late.Completion.Tag, late.Completion.Result);
        }

        Deliver();
    }
}
