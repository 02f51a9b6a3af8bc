using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A disk in memory. Requests are done when the test says so, or at once.</summary>
internal sealed unsafe class FakeDisk(int length) : IDiskBackend
{
    private readonly List<DiskRequest> _enqueued = [];
    private IDiskCompletions? _completions;

    public byte[] Bytes { get; private set; } = new byte[length];

    public ulong Length => (ulong)Bytes.Length;

    public bool IsReadOnly { get; init; }

    public bool CanDiscard { get; init; } = true;

    public bool CanWriteZeroes { get; init; } = true;

    /// <summary>Complete within Submit.</summary>
    public bool Immediate { get; set; } = true;

    public DiskResult Result { get; set; } = DiskResult.Ok;

    /// <summary>Everything that ever came.</summary>
    public List<DiskRequest> Seen { get; } = [];

    /// <summary>Submitted, not completed.</summary>
    public List<DiskRequest> InFlight { get; } = [];

    public int Submits { get; private set; }

    /// <summary>Forget what was seen; for tests that count allocations.</summary>
    public bool KeepNoRecord { get; set; }

    public void Grow(int longer)
    {
        byte[] bytes = new byte[longer];
        Bytes.CopyTo(bytes, 0);
        Bytes = bytes;
    }

    public void Attach(IDiskCompletions completions) => _completions = completions;

    public void Enqueue(in DiskRequest request)
    {
        Assert.True(request.Offset <= Length && request.Length <= Length - request.Offset);
        Assert.True(request.Offset % 512 == 0 && request.Length % 512 == 0);
        if (!KeepNoRecord)
        {
            Seen.Add(request);
        }

        _enqueued.Add(request);
    }

    public void Submit()
    {
        Submits++;
        InFlight.AddRange(_enqueued);
        _enqueued.Clear();
        if (Immediate)
        {
            CompleteAll();
        }
    }

    public void CompleteAll()
    {
        Span<DiskCompletion> done = stackalloc DiskCompletion[16];
        while (InFlight.Count > 0)
        {
            int count = Math.Min(InFlight.Count, 16);
            for (int i = 0; i < count; i++)
            {
                done[i] = new DiskCompletion(InFlight[i].Tag, Perform(InFlight[i]));
            }

            InFlight.RemoveRange(0, count);
            _completions!.Completed(done[..count]);
        }
    }

    /// <summary>Completes one of those in flight.</summary>
    public void Complete(int index)
    {
        DiskRequest request = InFlight[index];
        InFlight.RemoveAt(index);
        _completions!.Completed([new DiskCompletion(request.Tag, Perform(request))]);
    }

    private DiskResult Perform(in DiskRequest request)
    {
        if (Result != DiskResult.Ok)
        {
            return Result;
        }

        Span<byte> range = Bytes.AsSpan((int)request.Offset, (int)request.Length);
        switch (request.Operation)
        {
            case DiskOperation.Read or DiskOperation.Write:
                foreach (IoVector vector in new ReadOnlySpan<IoVector>((void*)request.Vectors, request.VectorCount))
                {
                    var memory = new Span<byte>((void*)vector.Base, (int)vector.Length);
                    if (request.Operation == DiskOperation.Read)
                    {
                        range[..memory.Length].CopyTo(memory);
                    }
                    else
                    {
                        memory.CopyTo(range);
                    }

                    range = range[memory.Length..];
                }

                Assert.Equal(0, range.Length);
                break;
            case DiskOperation.Discard or DiskOperation.WriteZeroes:
                range.Clear();
                break;
            default:
                break;
        }

        return DiskResult.Ok;
    }
}
