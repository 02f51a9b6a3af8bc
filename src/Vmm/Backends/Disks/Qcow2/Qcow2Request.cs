using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>The phases of a request.</summary>
internal enum Qcow2Phase
{
    /// <summary>Choose the next step for the rest of the request.</summary>
    Next,

    /// <summary>Data is read, or written to allocated clusters; then the rest of the request.</summary>
    Moving,

    /// <summary>New clusters: read the old data before the guest's in the first of them.</summary>
    CopyHead,

    /// <summary>And behind the guest's in the last.</summary>
    CopyTail,

    /// <summary>Write all of it to the new clusters.</summary>
    Writing,

    /// <summary>Make the map point there.</summary>
    Linking,
}

/// <summary>One request to the disk and the step it is in; reused.</summary>
internal sealed class Qcow2Request
{
    public const int MaxVectors = 64;

    public Qcow2Request(IFileIoOwner owner, int index)
    {
        Index = index;
        Io = new FileIo(owner, index);
        Vectors = GC.AllocateArray<IoVector>(MaxVectors, pinned: true);
        VectorsAddress = Marshal.UnsafeAddrOfPinnedArrayElement(Vectors, 0);
    }

    public int Index { get; }

    public FileIo Io { get; }

    /// <summary>Vectors of one transfer where the request's own do not fit; pinned.</summary>
    public IoVector[] Vectors { get; }

    public nint VectorsAddress { get; }

    public DiskRequest Disk { get; private set; }

    public Qcow2Phase Phase { get; set; }

    /// <summary>Bytes of the request that are done.</summary>
    public ulong Done { get; set; }

    /// <summary>Bytes that the step will have done.</summary>
    public ulong StepLength { get; set; }

    /// <summary>Clusters of the disk that the step concerns.</summary>
    public ulong First { get; set; }

    public ulong Last { get; set; }

    /// <summary>Its index among the steps in progress; -1 for none.</summary>
    public int StepIndex { get; set; } = -1;

    /// <summary>The step changes the place of these clusters: no other step may use them.</summary>
    public bool Exclusive { get; set; }

    /// <summary>First of the new clusters of the file, by number; 0 for none.</summary>
    public ulong NewCluster { get; set; }

    /// <summary>The step writes zeros, not the guest's data.</summary>
    public bool WritesZeros { get; set; }

    public bool CopiesHead { get; set; }

    public bool CopiesTail { get; set; }

    /// <summary>Bytes of the disk up to which new clusters are written.</summary>
    public ulong WrittenTo { get; set; }

    public ulong WritingTo { get; set; }

    /// <summary>Two clusters of pinned memory, for head and tail; null for none.</summary>
    public byte[]? Bounce { get; set; }

    /// <summary>How often in a row the tables' caches were full.</summary>
    public int Full { get; set; }

    public ulong Position => Disk.Offset + Done;

    public ulong Left => Disk.Length - Done;

    public ulong StepEnd => Position + StepLength;

    public void Begin(in DiskRequest request)
    {
        Disk = request;
        Phase = Qcow2Phase.Next;
        Done = 0;
        NewCluster = 0;
        Full = 0;
    }
}
