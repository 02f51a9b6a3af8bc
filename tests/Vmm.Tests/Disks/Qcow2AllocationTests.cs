using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vmm.Backends.Disks.Qcow2;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Tests.Disks;

/// <summary>What finding a free cluster costs in an image of 1 TiB that is nearly full, in reads of its refcounts.</summary>
public sealed class Qcow2AllocationTests : IDiskCompletions, IDisposable
{
    private const ulong Cluster = 65536;
    private const ulong FileBytes = 1ul << 40;
    private const ulong FileClusters = FileBytes / Cluster;
    private const ulong PerBlock = Cluster / 2;
    private const ulong Blocks = FileClusters / PerBlock;
    private const ulong FirstBlock = 100;                   // clusters of the file, by number
    private const ulong MappedData = 1000;
    private const ulong FreeCluster = (FileClusters / 2) + 77;

    private readonly SparseFile _file = new();
    private readonly Qcow2Disk _disk;
    private readonly byte[] _data = GC.AllocateArray<byte>((int)Cluster, pinned: true);
    private readonly IoVector[] _vectors = GC.AllocateArray<IoVector>(1, pinned: true);
    private int _done;

    public Qcow2AllocationTests()
    {
        MakeImage();
        _disk = new Qcow2Disk(_file, Qcow2Header.Read(_file), backing: null);
        _disk.Attach(this);
        _file.Watch(FirstBlock * Cluster, (Blocks + 1) * Cluster);
    }

    public void Dispose()
    {
        _disk.Dispose();
        _file.Dispose();
    }

    void IDiskCompletions.Completed(ReadOnlySpan<DiskCompletion> completions)
    {
        foreach (DiskCompletion completion in completions)
        {
            Assert.Equal(DiskResult.Ok, completion.Result);
            _done++;
        }
    }

    [Fact]
    public void A_write_does_not_wait_until_all_refcounts_were_read()
    {
        ulong most = 0;
        for (int i = 0; i < 600; i++)
        {
            ulong before = _file.ReadAtOnce;
            Write(FarAway + (ulong)i);
            most = Math.Max(most, _file.ReadAtOnce - before);
        }

        Assert.InRange(most, 0ul, 128 * 1024ul);            // of 32 MiB
        Assert.True(IsTaken(FreeCluster), "the free cluster inside the file was never found");
        Assert.InRange(_file.ReadBeside, Cluster, (Blocks + 1) * Cluster);      // each once at most
    }

    [Fact]
    public void Discards_of_low_clusters_do_not_start_the_search_anew()
    {
        for (int i = 0; i < 600; i++)
        {
            Write(FarAway + (ulong)i);                      // until all is known
        }

        ulong beside = _file.ReadBeside;
        ulong length = _file.Length;
        for (ulong i = 0; i < 50; i++)
        {
            ulong before = _file.ReadAtOnce;
            Do(DiskOperation.Discard, i * Cluster, Cluster);
            Do(DiskOperation.Flush, 0, 0);                  // only now it is free
            Write(FarAway + 1000 + i);
            Assert.True(IsTaken(MappedData + i), "what was discarded is not used again");
            Write(FarAway + 2000 + i);
            Assert.InRange(_file.ReadAtOnce - before, 0ul, 64 * 1024ul);
        }

        Assert.Equal(beside, _file.ReadBeside);
        Assert.InRange(_file.Length - length, 0ul, 60 * Cluster);
        _disk.Close();
    }

    /// <summary>A cluster of the disk that nothing is mapped at.</summary>
    private static ulong FarAway => 8192 * 10;

    private void Write(ulong cluster) => Do(DiskOperation.Write, cluster * Cluster, Cluster);

    private void Do(DiskOperation operation, ulong offset, ulong length)
    {
        bool hasData = operation == DiskOperation.Write;
        _vectors[0] = new IoVector(Marshal.UnsafeAddrOfPinnedArrayElement(_data, 0), (nuint)length);
        int before = _done;
        _disk.Enqueue(new DiskRequest(
            operation, before, offset, length, hasData ? Marshal.UnsafeAddrOfPinnedArrayElement(_vectors, 0) : 0,
            hasData ? 1 : 0, DiskOptions.None));
        _disk.Submit();
        Assert.Equal(before + 1, _done);
    }

    /// <summary>Is the cluster of the file mapped anywhere from <see cref="FarAway"/> on?</summary>
    private bool IsTaken(ulong cluster)
    {
        Do(DiskOperation.Flush, 0, 0);
        Span<byte> entry = stackalloc byte[8];
        _file.TryRead((4 * Cluster) + (FarAway / 8192 * 8), entry);         // the L1 table
        ulong table = BinaryPrimitives.ReadUInt64BigEndian(entry) & 0x00ff_ffff_ffff_fe00;
        var entries = new byte[Cluster];
        _file.TryRead(table, entries);
        for (int i = 0; i < entries.Length; i += 8)
        {
            if ((BinaryPrimitives.ReadUInt64BigEndian(entries.AsSpan(i)) & 0x00ff_ffff_ffff_fe00) == cluster * Cluster)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Header, refcount table, refcount blocks from <see cref="FirstBlock"/> on, L1 table at cluster 4, one L2
    /// table at cluster 50 that maps the disk's first clusters to <see cref="MappedData"/> and on. Everything is in use
    /// but one cluster in the middle.</summary>
    private void MakeImage()
    {
        Span<byte> header = new byte[Cluster];
        BinaryPrimitives.WriteUInt32BigEndian(header, Qcow2Format.Magic);
        BinaryPrimitives.WriteUInt32BigEndian(header[4..], 3);
        BinaryPrimitives.WriteUInt32BigEndian(header[20..], 16);
        BinaryPrimitives.WriteUInt64BigEndian(header[24..], 2 * FileBytes);
        BinaryPrimitives.WriteUInt32BigEndian(header[36..], 4096);
        BinaryPrimitives.WriteUInt64BigEndian(header[40..], 4 * Cluster);
        BinaryPrimitives.WriteUInt64BigEndian(header[48..], Cluster);
        BinaryPrimitives.WriteUInt32BigEndian(header[56..], 1);
        BinaryPrimitives.WriteUInt32BigEndian(header[96..], 4);
        BinaryPrimitives.WriteUInt32BigEndian(header[100..], 104);
        _file.TryWrite(0, header);

        var table = new byte[Cluster];
        var counts = new byte[Cluster];
        for (int i = 1; i < counts.Length; i += 2)
        {
            counts[i] = 1;
        }

        for (ulong i = 0; i < Blocks; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(table.AsSpan((int)i * 8), (FirstBlock + i) * Cluster);
            _file.TryWrite((FirstBlock + i) * Cluster, counts);
        }

        _file.TryWrite(Cluster, table);
        _file.TryWrite((FirstBlock * Cluster) + (FreeCluster * 2), [0, 0]);

        var map = new byte[Cluster];
        for (int i = 0; i < 100; i++)
        {
            BinaryPrimitives.WriteUInt64BigEndian(
                map.AsSpan(i * 8), ((MappedData + (ulong)i) * Cluster) | Qcow2Format.Copied);
        }

        _file.TryWrite(50 * Cluster, map);
        Span<byte> entry = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(entry, (50 * Cluster) | Qcow2Format.Copied);
        _file.TryWrite(4 * Cluster, entry);
        _file.TrySetLength(FileBytes);
    }
}
