using System.Buffers.Binary;
using System.Text;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A block driver for tests, and what a well-behaved driver may expect.</summary>
internal sealed class BlockRig : IDisposable
{
    public const uint In = 0;
    public const uint Out = 1;
    public const uint Flush = 4;
    public const uint GetId = 8;
    public const uint Discard = 11;
    public const uint WriteZeroes = 13;

    public BlockRig(
        Variant variant, BlockOptions? options = null, FakeDisk? disk = null, ulong refuse = 0, bool start = true,
        bool waitsForResets = false)
    {
        Disk = disk ?? new FakeDisk(1 << 20);
        Block = new VirtioBlock("virtio-blk0", Disk, options ?? new BlockOptions()) { RingFeatures = TestTransports.RingFeatures };
        Driver = new TestDriver(Rig, Block, variant, waitsForResets);
        if (start)
        {
            Driver.Start(refuse);
        }
    }

    public TestRig Rig { get; } = new();

    public FakeDisk Disk { get; }

    public VirtioBlock Block { get; }

    public TestDriver Driver { get; }

    public TestDriverQueue Queue => Driver.Queues[0];

    public ulong LastStatus { get; private set; }

    public static byte[] Header(uint type, ulong sector)
    {
        var header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        return header;
    }

    /// <summary>Adds a request of one header, one data and one status descriptor.</summary>
    public int Add(uint type, ulong sector, ulong data, uint length, out ulong status, int queue = 0)
    {
        ulong header = Driver.Place(Header(type, sector));
        status = Driver.Place([0xee]);
        LastStatus = status;
        bool toDevice = type is Out or Discard or WriteZeroes;
        return length == 0
            ? Driver.Queues[queue].Add(new Buffer(header, 16, false), new Buffer(status, 1, true))
            : Driver.Queues[queue].Add(
                new Buffer(header, 16, false), new Buffer(data, length, !toDevice), new Buffer(status, 1, true));
    }

    /// <summary>One request from start to end; the status byte.</summary>
    public byte Do(uint type, ulong sector, ulong data, uint length, out uint written)
    {
        int id = Add(type, sector, data, length, out ulong status);
        Driver.Kick();
        Assert.True(Queue.TryTake(out int taken, out written));
        Assert.Equal(id, taken);
        return Queue.Read<byte>(status);
    }

    public byte Do(uint type, ulong sector, ulong data, uint length) => Do(type, sector, data, length, out _);

    public void Dispose() => Rig.Dispose();
}

public sealed class BlockTests
{
    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_configuration_space_describes_the_disk(Variant variant)
    {
        using var rig = new BlockRig(variant, new BlockOptions { BlockSize = 1024, PhysicalBlockSize = 4096, Queues = 2 });
        TestTransport transport = rig.Driver.Transport;
        Assert.Equal(2u, transport.DeviceId);
        Assert.Equal(2048UL, transport.ReadConfig64(0));
        Assert.Equal(126u, transport.ReadConfig32(12));
        Assert.Equal(1024u, transport.ReadConfig32(20));
        Assert.Equal(0x0004_0002u, transport.ReadConfig32(24));
        Assert.Equal(0x0002_0001u, transport.ReadConfig32(32));
        Assert.Equal(0u, transport.ReadConfig32(60));
        Assert.Equal(0u, transport.ReadConfig32(252));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void What_is_written_is_read_back(Variant variant)
    {
        using var rig = new BlockRig(variant);
        byte[] data = new byte[4096];
        new Random(1).NextBytes(data);
        ulong from = rig.Driver.Place(data);
        ulong to = rig.Driver.Allocate(4096);
        Assert.Equal(0, rig.Do(BlockRig.Out, 16, from, 4096, out uint written));
        Assert.Equal(1u, written);
        Assert.Equal(data, rig.Disk.Bytes[8192..12288]);
        Assert.Equal(0, rig.Do(BlockRig.In, 16, to, 4096, out written));
        Assert.Equal(4097u, written);
        Assert.Equal(data, rig.Driver.Fetch(to, 4096));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Boundaries_of_descriptors_mean_nothing(Variant variant)
    {
        using var rig = new BlockRig(variant);
        byte[] data = new byte[1024];
        new Random(2).NextBytes(data);
        byte[] request = [.. BlockRig.Header(BlockRig.Out, 3), .. data];
        ulong at = rig.Driver.Place(request);
        ulong status = rig.Driver.Place([0xee]);
        rig.Queue.Add(
            new Buffer(at, 7, false), new Buffer(at + 7, 0, false), new Buffer(at + 7, 100, false),
            new Buffer(at + 107, (uint)request.Length - 107, false), new Buffer(status, 1, true));
        rig.Driver.Kick();
        Assert.True(rig.Queue.TryTake(out _, out _));
        Assert.Equal(0, rig.Queue.Read<byte>(status));
        Assert.Equal(data, rig.Disk.Bytes[1536..2560]);

        // A read whose status is the last byte of the descriptor that holds data too, through an indirect table.
        ulong header = rig.Driver.Place(BlockRig.Header(BlockRig.In, 3));
        ulong to = rig.Driver.Allocate(1025);
        ulong table = rig.Driver.Allocate(64);
        rig.Queue.AddIndirect(
            table, new Buffer(header, 16, false), new Buffer(to, 1, true), new Buffer(to + 1, 1024, true));
        rig.Queue.Write(to + 1024, (byte)0xee);
        rig.Driver.Kick();
        Assert.True(rig.Queue.TryTake(out _, out uint length));
        Assert.Equal(1025u, length);
        Assert.Equal([.. data, 0], rig.Driver.Fetch(to, 1025));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_serial_number_is_read(Variant variant)
    {
        using var rig = new BlockRig(variant, new BlockOptions { Serial = "disk-7" });
        ulong to = rig.Driver.Place(Enumerable.Repeat((byte)0xcc, 20).ToArray());
        Assert.Equal(0, rig.Do(BlockRig.GetId, 0, to, 20, out uint written));
        Assert.Equal(21u, written);
        Assert.Equal("disk-7", Encoding.ASCII.GetString(rig.Driver.Fetch(to, 20)).TrimEnd('\0'));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Ranges_are_zeroed_and_discarded(Variant variant)
    {
        using var rig = new BlockRig(variant);
        Array.Fill(rig.Disk.Bytes, (byte)0x55);
        byte[] ranges = [.. Range(2, 4, 1), .. Range(100, 1, 0), .. Range(7, 0, 0)];
        Assert.Equal(0, rig.Do(BlockRig.WriteZeroes, 0, rig.Driver.Place(ranges), (uint)ranges.Length));
        Assert.Equal(2, rig.Disk.Seen.Count);
        Assert.Equal(DiskOptions.Unmap, rig.Disk.Seen[0].Options);
        Assert.Equal(DiskOptions.None, rig.Disk.Seen[1].Options);
        Assert.All(rig.Disk.Bytes[1024..3072], static b => Assert.Equal(0, b));
        Assert.Equal(0x55, rig.Disk.Bytes[1023]);
        Assert.Equal(0x55, rig.Disk.Bytes[3072]);
        Assert.Equal(0, rig.Do(BlockRig.Discard, 0, rig.Driver.Place(Range(0, 2, 0)), 16));
        Assert.Equal(DiskOperation.Discard, rig.Disk.Seen[^1].Operation);

        Assert.Equal(2, rig.Do(BlockRig.Discard, 0, rig.Driver.Place(Range(0, 2, 1)), 16));          // unmap of a discard
        Assert.Equal(2, rig.Do(BlockRig.WriteZeroes, 0, rig.Driver.Place(Range(0, 2, 2)), 16));      // unknown flag
        Assert.Equal(1, rig.Do(BlockRig.WriteZeroes, 0, rig.Driver.Place(Range(2047, 2, 0)), 16));   // past the end
        Assert.Equal(1, rig.Do(BlockRig.WriteZeroes, 0, rig.Driver.Place(Range(ulong.MaxValue, 2, 0)), 16));
        Assert.Equal(1, rig.Do(BlockRig.WriteZeroes, 0, rig.Driver.Place(Range(1UL << 55, 2, 0)), 16));
        Assert.Equal(1, rig.Do(BlockRig.Discard, 0, rig.Driver.Place(Range(0, uint.MaxValue, 0)), 16));
        Assert.Equal(1, rig.Do(BlockRig.Discard, 0, rig.Driver.Place(new byte[15]), 15));
        Assert.Equal(1, rig.Do(BlockRig.Discard, 0, 0, 0));
        Assert.Equal(1, rig.Do(BlockRig.Discard, 0, rig.Driver.Place(new byte[17 * 16]), 17 * 16));
        Assert.Equal(3, rig.Disk.Seen.Count);
        Assert.Empty(rig.Rig.Log);
    }

    [Theory]
    [InlineData(false, false, true, DiskOptions.None)]
    [InlineData(true, false, true, DiskOptions.Durable)]
    [InlineData(true, true, true, DiskOptions.Durable)]
    [InlineData(false, true, true, DiskOptions.None)]
    [InlineData(false, false, false, DiskOptions.Durable)]
    public void A_write_is_durable_when_the_driver_cannot_flush(
        bool refuseFlush, bool refuseWce, bool writeback, DiskOptions expected)
    {
        ulong refuse = (refuseFlush ? 1UL << 9 : 0) | (refuseWce ? 1UL << 11 : 0);
        using var rig = new BlockRig(Variant.Default, new BlockOptions { Writeback = writeback }, refuse: refuse);
        rig.Do(BlockRig.Out, 0, rig.Driver.Allocate(512), 512);
        Assert.Equal(expected, rig.Disk.Seen[^1].Options);
        Assert.Equal(0, rig.Do(BlockRig.Flush, 0, 0, 0));
        Assert.Equal(DiskOperation.Flush, rig.Disk.Seen[^1].Operation);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void The_driver_chooses_writethrough_and_back(Variant variant)
    {
        using var rig = new BlockRig(variant);
        ulong data = rig.Driver.Allocate(512);
        rig.Driver.Transport.WriteConfig(32, [0]);
        rig.Do(BlockRig.Out, 0, data, 512);
        Assert.Equal(DiskOptions.Durable, rig.Disk.Seen[^1].Options);
        rig.Driver.Transport.WriteConfig(32, [1]);
        rig.Do(BlockRig.Out, 0, data, 512);
        Assert.Equal(DiskOptions.None, rig.Disk.Seen[^1].Options);
        rig.Driver.Transport.WriteConfig(32, [0]);
        rig.Driver.Start();
        Assert.Equal(1u, rig.Driver.Transport.ReadConfig32(32) & 0xff);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_failing_backend_is_an_I_O_error_and_nothing_more(Variant variant)
    {
        using var rig = new BlockRig(variant);
        ulong data = rig.Driver.Allocate(512);
        rig.Disk.Result = DiskResult.Error;
        Assert.Equal(1, rig.Do(BlockRig.In, 0, data, 512, out uint written));
        Assert.Equal(0u, written);
        Assert.Equal(1, rig.Do(BlockRig.Flush, 0, 0, 0, out written));
        Assert.Equal(1u, written);
        rig.Disk.Result = DiskResult.Unsupported;
        Assert.Equal(2, rig.Do(BlockRig.Out, 0, data, 512));
        rig.Disk.Result = DiskResult.Ok;
        Assert.Equal(0, rig.Do(BlockRig.Out, 0, data, 512));
        Assert.Equal(2, rig.Do(0x7777, 0, data, 512));
        Assert.Empty(rig.Rig.Log);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Requests_complete_in_any_order_on_several_queues(Variant variant)
    {
        var disk = new FakeDisk(1 << 20) { Immediate = false };
        using var rig = new BlockRig(variant, new BlockOptions { Queues = 2, MaxInFlight = 3 }, disk);
        for (int i = 0; i < 4; i++)
        {
            rig.Add(BlockRig.In, (ulong)i, rig.Driver.Allocate(512), 512, out _, queue: 0);
            rig.Add(BlockRig.In, (ulong)i + 10, rig.Driver.Allocate(512), 512, out _, queue: 1);
        }

        rig.Driver.Kick(0);
        rig.Driver.Kick(1);
        Assert.Equal(3, disk.InFlight.Count);       // the bound
        int done = 0;
        while (disk.InFlight.Count > 0)
        {
            disk.Complete(disk.InFlight.Count - 1);
            rig.Rig.RunLoop();
            Assert.True(disk.InFlight.Count <= 3);
            done++;
        }

        Assert.Equal(8, done);
        for (int i = 0; i < 4; i++)
        {
            Assert.True(rig.Driver.Queues[0].TryTake(out _, out uint length));
            Assert.Equal(513u, length);
            Assert.True(rig.Driver.Queues[1].TryTake(out _, out _));
        }
    }

    [Fact]
    public void Options_that_cannot_be_are_refused_with_a_reason()
    {
        static void Refused(BlockOptions options, string word) => Assert.Contains(
            word, Assert.Throws<ArgumentException>(() => new VirtioBlock("disk", new FakeDisk(1536), options)).Message,
            StringComparison.Ordinal);

        Refused(new BlockOptions { Serial = "123456789012345678901" }, "serial");
        Refused(new BlockOptions { Serial = "ü" }, "serial");
        Refused(new BlockOptions { Queues = 0 }, "queues");
        Refused(new BlockOptions { QueueSize = 100 }, "queue size");
        Refused(new BlockOptions { MaxInFlight = 0 }, "in flight");
        Refused(new BlockOptions { BlockSize = 1000 }, "block size");
        Refused(new BlockOptions { BlockSize = 1024 }, "no multiple");
    }

    private static byte[] Range(ulong sector, uint sectors, uint flags)
    {
        var range = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(12), flags);
        return range;
    }
}
