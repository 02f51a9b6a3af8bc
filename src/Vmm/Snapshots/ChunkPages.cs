using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Pages of one chunk of memory (<see cref="MemoryChecksums"/>): bit n is page n.</summary>
internal static class ChunkPages
{
    /// <summary>Pages of a chunk; the last of a memory may have fewer.</summary>
    public const int Count = MemoryChecksums.ChunkBytes / PageSet.PageBytes;

    /// <summary>Those that differ.</summary>
    /// <param name="before">As long as the other.</param>
    public static ushort Different(ReadOnlySpan<byte> now, ReadOnlySpan<byte> before)
    {
        int pages = 0;
        for (int at = 0; at < now.Length; at += PageSet.PageBytes)
        {
            bool differs = !now.Slice(at, PageSet.PageBytes).SequenceEqual(before.Slice(at, PageSet.PageBytes));
            pages |= differs ? 1 << (at / PageSet.PageBytes) : 0;
        }

        return (ushort)pages;
    }

    /// <summary>Those that are not all zeros.</summary>
    public static ushort NotZero(ReadOnlySpan<byte> chunk)
    {
        int pages = 0;
        for (int at = 0; at < chunk.Length; at += PageSet.PageBytes)
        {
            pages |= MemoryChecksums.IsZero(chunk.Slice(at, PageSet.PageBytes)) ? 0 : 1 << (at / PageSet.PageBytes);
        }

        return (ushort)pages;
    }

    /// <summary>The bytes of pages, of adjacent ones together.</summary>
    /// <param name="length">Of the chunk.</param>
    public static IEnumerable<Range> Runs(ushort pages, int length)
    {
        for (int from = 0, at = 0; at <= length; at += PageSet.PageBytes)
        {
            if (at < length && (pages & (1 << (at / PageSet.PageBytes))) != 0)
            {
                continue;
            }

            if (at > from)
            {
                yield return from..at;
            }

            from = at + PageSet.PageBytes;
        }
    }
}
