using System.Runtime.InteropServices;
using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>A CRC-32C for each chunk of memory, 0 for one that is all zeros.</summary>
internal static class MemoryChecksums
{
    public const int ChunkBytes = 64 * 1024;

    /// <summary>How many chunks a memory has; the last may be shorter.</summary>
    public static int Count(ulong memory) => (int)((memory + ChunkBytes - 1) / ChunkBytes);

    /// <summary>Where a chunk begins, and how many bytes it has.</summary>
    public static (ulong Start, int Length) Place(int chunk, ulong memory)
    {
        ulong start = (ulong)chunk * ChunkBytes;
        return (start, (int)Math.Min(ChunkBytes, memory - start));
    }

    /// <summary>Never 0 for a chunk that is not all zeros: a sum of 0 is replaced by 1.</summary>
    public static uint Of(ReadOnlySpan<byte> chunk) => IsZero(chunk) ? 0 : Math.Max(Crc32C.Of(chunk), 1);

    public static bool IsZero(ReadOnlySpan<byte> bytes) => !bytes.ContainsAnyExcept((byte)0);

    /// <summary>As the file has them: four bytes each, the lowest first.</summary>
    public static byte[] ToBytes(ReadOnlySpan<uint> checksums) => MemoryMarshal.AsBytes(checksums).ToArray();

    /// <summary>What <see cref="ToBytes"/> wrote; its length has been checked.</summary>
    public static uint[] FromBytes(ReadOnlySpan<byte> bytes) => MemoryMarshal.Cast<byte, uint>(bytes).ToArray();
}
