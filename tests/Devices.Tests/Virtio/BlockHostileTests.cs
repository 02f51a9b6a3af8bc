using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Block;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>What a hostile guest can ask of a disk.</summary>
public sealed class BlockHostileTests
{
    private const ulong Sectors = 2048;

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Sectors_beyond_the_disk_are_I_O_errors(Variant variant)
    {
        using var rig = new BlockRig(variant);
        ulong data = rig.Driver.Allocate(4096);
        foreach (uint type in new[] { BlockRig.In, BlockRig.Out })
        {
            foreach (ulong sector in new[] { Sectors - 7, Sectors, Sectors + 1, 1UL << 55, (1UL << 55) - 1, 1UL << 63, ulong.MaxValue, ulong.MaxValue - 7 })
            {
                Assert.Equal(1, rig.Do(type, sector, data, 4096));
            }

            Assert.Equal(0, rig.Do(type, Sectors - 8, data, 4096));
        }

        Assert.Equal(2, rig.Disk.Seen.Count);
        Assert.Empty(rig.Rig.Log);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Data_that_is_no_whole_number_of_sectors_is_an_I_O_error(Variant variant)
    {
        using var rig = new BlockRig(variant);
        ulong data = rig.Driver.Allocate(4096);
        foreach (uint length in new uint[] { 1, 511, 513, 1023, 4095 })
        {
            Assert.Equal(1, rig.Do(BlockRig.In, 0, data, length));
            Assert.Equal(1, rig.Do(BlockRig.Out, 0, data, length));
        }

        Assert.Empty(rig.Disk.Seen);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_read_only_disk_is_not_written(Variant variant)
    {
        foreach (bool byBackend in new[] { false, true })
        {
            var disk = new FakeDisk(1 << 20) { IsReadOnly = byBackend };
            using var rig = new BlockRig(variant, new BlockOptions { ReadOnly = !byBackend }, disk);
            Assert.NotEqual(0UL, rig.Driver.Features & (1 << 5));
            Assert.Equal(0UL, rig.Driver.Features & ((1 << 13) | (1 << 14)));
            ulong data = rig.Driver.Place(Enumerable.Repeat((byte)7, 512).ToArray());
            byte[] range = new byte[16];
            range[8] = 1;
            Assert.Equal(1, rig.Do(BlockRig.Out, 0, data, 512));
            Assert.Equal(1, rig.Do(BlockRig.Discard, 0, rig.Driver.Place(range), 16));
            Assert.Equal(1, rig.Do(BlockRig.WriteZeroes, 0, rig.Driver.Place(range), 16));
            Assert.Empty(disk.Seen);
            Assert.Equal(0, rig.Do(BlockRig.In, 0, data, 512));
        }
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_short_header_is_refused(Variant variant)
    {
        foreach (uint length in new uint[] { 1, 8, 15 })
        {
            using var rig = new BlockRig(variant);
            rig.Queue.Add(new Buffer(rig.Driver.Place(new byte[16]), length, false), new Buffer(rig.Driver.Place([0]), 1, true));
            rig.Driver.Kick();
            Broken(rig, "header");
        }

        using var none = new BlockRig(variant);
        none.Queue.Add(new Buffer(none.Driver.Allocate(16), 16, true));
        none.Driver.Kick();
        Broken(none, "header");
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_request_without_room_for_its_status_is_refused(Variant variant)
    {
        using var rig = new BlockRig(variant);
        rig.Queue.Add(new Buffer(rig.Driver.Place(BlockRig.Header(BlockRig.Out, 0)), 16, false), new Buffer(rig.Driver.Allocate(512), 512, false));
        rig.Driver.Kick();
        Broken(rig, "status");
        Assert.DoesNotContain(rig.Disk.Seen, static request => request.Operation == DiskOperation.Write);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Discards_that_the_backend_cannot_do_are_unsupported(Variant variant)
    {
        var disk = new FakeDisk(1 << 20) { CanDiscard = false, CanWriteZeroes = false };
        using var rig = new BlockRig(variant, disk: disk);
        byte[] range = new byte[16];
        range[8] = 1;
        Assert.Equal(2, rig.Do(BlockRig.Discard, 0, rig.Driver.Place(range), 16));
        Assert.Equal(2, rig.Do(BlockRig.WriteZeroes, 0, rig.Driver.Place(range), 16));
    }

    private static void Broken(BlockRig rig, string word)
    {
        Assert.Contains(word, Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
        Assert.Equal(TestDriver.Live | TestDriver.NeedsReset, rig.Driver.Transport.Status);
        rig.Driver.Start();
        Assert.Equal(0, rig.Do(BlockRig.Flush, 0, 0, 0));
    }
}
