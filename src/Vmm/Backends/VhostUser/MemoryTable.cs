using System.Buffers.Binary;
using Vmm.Devices.Memory;
using Vmm.Host;

namespace Vmm.Backends.VhostUser;

/// <summary>The guest's memory as other programs map it: a file, and the place of the guest's addresses in it.</summary>
/// <param name="memory">The guest's, all of it in one mapping of the file.</param>
/// <param name="file">The memory as a file.</param>
/// <param name="start">Where its first byte is mapped in this process.</param>
internal sealed class MemoryTable(GuestMemory memory, FileDescriptor file, nint start)
{
    private const int HeadBytes = 8, RegionBytes = 32;

    /// <summary>The file's descriptor, once for each region.</summary>
    public int[] Descriptors { get; } = [.. Enumerable.Repeat(file.Number, memory.Regions.Length)];

    /// <summary>The payload of SET_MEM_TABLE ("Memory regions description").</summary>
    /// <remarks>
    /// <code>
    /// regions:32  padding:32   then for each   guest address:64  size:64  user address:64  offset in the file:64
    /// </code>
    /// </remarks>
    public byte[] ToPayload()
    {
        byte[] payload = new byte[HeadBytes + (memory.Regions.Length * RegionBytes)];
        BinaryPrimitives.WriteUInt32LittleEndian(payload, (uint)memory.Regions.Length);
        Span<byte> next = payload.AsSpan(HeadBytes);
        foreach (ref readonly GuestRegion region in memory.Regions)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(next, region.Start.Value);
            BinaryPrimitives.WriteUInt64LittleEndian(next[8..], region.Length);
            BinaryPrimitives.WriteUInt64LittleEndian(next[16..], (ulong)region.Host);
            BinaryPrimitives.WriteUInt64LittleEndian(next[24..], (ulong)(region.Host - start));
            next = next[RegionBytes..];
        }

        return payload;
    }

    /// <summary>An address of the guest as the protocol has those of rings: in this process.</summary>
    public unsafe ulong UserAddress(GuestAddress address) =>
        memory.TryGetPointer(address, 1, out byte* pointer) ? (ulong)pointer : 0;
}
