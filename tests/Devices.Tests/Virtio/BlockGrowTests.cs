using Vmm.Devices.State;
using Vmm.Devices.Virtio;

namespace Vmm.Devices.Tests.Virtio;

public sealed class BlockGrowTests
{
    private const int Before = 1 << 20, After = 3 << 20;

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_grown_disk_is_reported_by_a_configuration_change_and_readable_to_its_end(Variant variant)
    {
        using var rig = new BlockRig(variant, disk: new FakeDisk(Before));
        Assert.Equal(1, Read(rig, Before));
        uint generation = rig.Driver.Transport.ConfigGeneration;
        rig.Disk.Grow(After);
        Assert.Equal((ulong)Before / 512, rig.Driver.Transport.ReadConfig64(0));
        rig.Block.Grow();
        Assert.Equal(2u, rig.Driver.Transport.TakeInterrupts() & 2);
        Assert.NotEqual(generation, rig.Driver.Transport.ConfigGeneration);
        Assert.Equal((ulong)After / 512, rig.Driver.Transport.ReadConfig64(0));
        Assert.Equal(0, Read(rig, Before));
        Assert.Equal(0, Read(rig, After - 512));
        Assert.Equal(1, Read(rig, After));

        // Nothing new, nothing told.
        generation = rig.Driver.Transport.ConfigGeneration;
        rig.Block.Grow();
        Assert.Equal(generation, rig.Driver.Transport.ConfigGeneration);

        // A reset does not make it shorter, and a saved machine fits the longer disk.
        rig.Driver.Start();
        Assert.Equal((ulong)After / 512, rig.Driver.Transport.ReadConfig64(0));
        byte[] state = StateWriter.Save(rig.Driver.Transport.State);
        using var other = new BlockRig(variant, disk: new FakeDisk(After), start: false);
        other.Rig.Test.CopyFrom(rig.Rig.Test);
        StateReader.Load(state, "m", other.Driver.Transport.State);
    }

    /// <returns>The status of a request for the sector at this offset.</returns>
    private static byte Read(BlockRig rig, int offset)
    {
        rig.Add(BlockRig.In, (ulong)offset / 512, rig.Driver.Allocate(512), 512, out ulong status);
        rig.Driver.Kick();
        Assert.True(rig.Driver.Queues[0].TryTake(out _, out _));
        return rig.Driver.Queues[0].Read<byte>(status);
    }
}
