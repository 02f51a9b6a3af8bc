using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>Reads the refcounts of a region asynchronously.</summary>
internal sealed class Qcow2FreeScan(BlockFile file, IFileIoOwner owner, int tag, int bytes)
{
    private const int PageBytes = 4096;

    private readonly FileIo _io = new(owner, tag);
    private readonly IoVector[] _vector = GC.AllocateArray<IoVector>(1, pinned: true);
    private byte[]? _buffer;

    public bool IsUnderWay { get; private set; }

    public ulong Region { get; private set; }

    /// <summary>A count of the region was changed since the read began.</summary>
    public bool IsStale { get; private set; }

    /// <summary>What was read.</summary>
    public ReadOnlySpan<byte> Counts => _buffer.AsSpan((int)(Start - Address(_buffer!)), bytes);

    private nint Start => (Address(_buffer!) + PageBytes - 1) & ~(PageBytes - 1);

    /// <summary>It begins with the file's <see cref="BlockFile.Submit"/>.</summary>
    public void Begin(ulong region, ulong offset)
    {
        // O_DIRECT wants it aligned.
        _buffer ??= GC.AllocateUninitializedArray<byte>(bytes + PageBytes, pinned: true);
        _vector[0] = new IoVector(Start, (nuint)bytes);
        Region = region;
        IsUnderWay = true;
        IsStale = false;
        _io.Prepare(
            FileOperation.Read, offset, (ulong)bytes, Marshal.UnsafeAddrOfPinnedArrayElement(_vector, 0), 1);
        _io.ZeroPastEnd = true;
        file.Start(_io);
    }

    public void Changed(ulong region) => IsStale |= IsUnderWay && region == Region;

    public void End() => IsUnderWay = false;

    private static nint Address(byte[] pinned) => Marshal.UnsafeAddrOfPinnedArrayElement(pinned, 0);
}
