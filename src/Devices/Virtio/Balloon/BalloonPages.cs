using System.Runtime.InteropServices;
using Vmm.Devices.Memory;

namespace Vmm.Devices.Virtio.Balloon;

/// <summary>Pages that come back: by their numbers (virtio 1.2, section 5.5.6.1), and as buffers (section 5.5.6.7).</summary>
public sealed partial class VirtioBalloon
{
    /// <summary>Page numbers of one request. Drivers send 256 to 1024; a bound to what a hostile one costs.</summary>
    public const int MostPages = 16384;

    // Bytes released before other queues are served.
    private const ulong MostBytesPerTurn = 256 << 20;

    private const string NoPages = "a request holds no page numbers, or a part of one";
    private const string TooManyPages = "a request holds more than 16384 page numbers";
    private const string NotMemory = "a page number lies outside the guest's memory";
    private const string NothingReported = "a report holds no memory";

    private uint[]? _pages;     // made when first needed: 64 KiB
    private ulong _released;
    private long _failures;

    private void ProcessPages(Virtqueue queue)
    {
        queue.DisableNotify();
        var budget = new Budget(queue.Size);
        do
        {
            while (queue.TryPop(_buffers, out DescriptorChain chain))
            {
                if (TakePages(queue.Index == InflateQueue, chain, out ulong bytes) is { } fault)
                {
                    queue.Refuse(fault);
                    break;
                }

                queue.Complete(chain, 0);
                if (budget.IsSpent(bytes))
                {
                    EndTurn(queue);
                    return;
                }
            }

            queue.Publish();
        }
        while (queue.EnableNotify());
    }

    private void ProcessReports(Virtqueue queue)
    {
        if ((NegotiatedFeatures & BalloonConfig.PageReporting) == 0)
        {
            return;
        }

        // Section 5.5.6.7.2: what is reported has the poison value or its old content afterwards. Released, it is zero.
        bool mayRelease = Field(BalloonConfig.PoisonOffset) == 0;
        queue.DisableNotify();
        var budget = new Budget(queue.Size);
        do
        {
            while (queue.TryPop(_buffers, out DescriptorChain chain))
            {
                if (chain.WritableBytes == 0)
                {
                    queue.Refuse(NothingReported);
                    break;
                }

                if (mayRelease)
                {
                    foreach (IoVector buffer in _buffers.AsSpan(chain.Readable, chain.Writable))
                    {
                        ReleaseWhole(buffer);
                    }
                }

                queue.Complete(chain, 0);
                if (budget.IsSpent(chain.WritableBytes))
                {
                    EndTurn(queue);
                    return;
                }
            }

            queue.Publish();
        }
        while (queue.EnableNotify());
    }

    /// <summary>Checks all page numbers of a request (le32 each), then acts on them.</summary>
    /// <returns>Null, or what is wrong: nothing was released then.</returns>
    private string? TakePages(bool inflate, in DescriptorChain chain, out ulong released)
    {
        released = 0;
        ulong bytes = chain.ReadableBytes;
        if (bytes == 0 || bytes % sizeof(uint) != 0)
        {
            return NoPages;
        }

        if (bytes > MostPages * sizeof(uint))
        {
            return TooManyPages;
        }

        _pages ??= GC.AllocateUninitializedArray<uint>(MostPages);
        Span<uint> pages = _pages.AsSpan(0, (int)bytes / sizeof(uint));
        VirtqueueBuffers.CopyFrom(_buffers.AsSpan(0, chain.Readable), MemoryMarshal.AsBytes(pages));
        foreach (uint page in pages)
        {
            if (!TryFind(page, out _))
            {
                return NotMemory;
            }
        }

        if (inflate)
        {
            released = ReleaseAll(pages);
        }

        return null;
    }

    /// <summary>As few calls as possible: Linux gives pages one by one, mostly neighbours, from the top down. The same page twice
    /// is released once.</summary>
    private ulong ReleaseAll(Span<uint> pages)
    {
        pages.Sort();
        ulong released = 0;
        TryFind(pages[0], out nint start);
        nint end = start + BalloonConfig.PageBytes;
        foreach (uint page in pages[1..])
        {
            TryFind(page, out nint address);
            if (address == end)
            {
                end += BalloonConfig.PageBytes;
            }
            else if (address != end - BalloonConfig.PageBytes)
            {
                released += Release(start, end);
                start = address;
                end = start + BalloonConfig.PageBytes;
            }
        }

        return released + Release(start, end);
    }

    /// <summary>The pages that lie in the buffer wholly.</summary>
    private void ReleaseWhole(IoVector buffer)
    {
        const nint Mask = BalloonConfig.PageBytes - 1;
        nint start = (buffer.Base + Mask) & ~Mask;
        nint end = (buffer.Base + (nint)buffer.Length) & ~Mask;
        if (start < end)
        {
            Release(start, end);
        }
    }

    private ulong Release(nint start, nint end)
    {
        var bytes = (nuint)(end - start);
        if (_host.Release(start, bytes))
        {
            _released += bytes;
        }
        else
        {
            _failures++;
        }

        return bytes;
    }

    private bool TryFind(uint page, out nint address) => _memory.TryGetAddress(
        new GuestAddress((ulong)page * BalloonConfig.PageBytes), BalloonConfig.PageBytes, out address);

    /// <summary>What may be done before the event loop serves other queues.</summary>
    private struct Budget(int requests)
    {
        private int _requests = requests;
        private ulong _bytes;

        public bool IsSpent(ulong bytes)
        {
            _bytes += bytes;
            return --_requests == 0 || _bytes >= MostBytesPerTurn;
        }
    }
}
