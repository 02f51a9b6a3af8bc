using Vmm.Devices.Memory;

namespace Vmm.Boot;

internal sealed class MemoryImageSource(string name, ReadOnlyMemory<byte> bytes) : ImageSource(name, bytes.Length)
{
    private ReadOnlyMemory<byte> _bytes = bytes;

    /// <summary>Takes other bytes: fuzz tests feed millions of inputs through one object.</summary>
    internal void Reset(ReadOnlyMemory<byte> bytes)
    {
        _bytes = bytes;
        Length = bytes.Length;
    }

    private protected override bool ReadCore(long offset, Span<byte> destination)
    {
        _bytes.Span.Slice((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    private protected override ulong CopyCore(long offset, ulong length, GuestMemory memory, GuestAddress address)
    {
        memory.Write(address, _bytes.Span.Slice((int)offset, (int)length));
        return length;
    }
}
