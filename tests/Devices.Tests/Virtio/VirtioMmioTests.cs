using Vmm.Devices.Virtio;

namespace Vmm.Devices.Tests.Virtio;

public sealed class VirtioMmioTests
{
    [Fact]
    public void The_fixed_registers_say_what_it_is()
    {
        using var rig = new BlockRig(Variant.Default, start: false);
        var transport = (TestTransportMmio)rig.Driver.Transport;
        Assert.Equal(0x74726976u, transport.Read(0x000));
        Assert.Equal(2u, transport.Read(0x004));
        Assert.Equal(2u, transport.Read(0x008));
        Assert.Equal(128u, transport.Read(0x034));
        Assert.Equal(uint.MaxValue, transport.Read(0x0b0));
        Assert.Equal(uint.MaxValue, transport.Read(0x0b4));
        Assert.Equal("QueueNotify", transport.Registers.RegisterName(0x50, true));
        Assert.Null(transport.Registers.RegisterName(0x48, false));
    }

    [Fact]
    public void Control_registers_answer_to_aligned_32_bits_only()
    {
        using var rig = new BlockRig(Variant.Default, start: false);
        TestTransport transport = rig.Driver.Transport;
        foreach (int width in new[] { 1, 2, 3, 5, 8 })
        {
            var data = new byte[width];
            transport.Raw(0, data, write: false);
            Assert.All(data, static b => Assert.Equal(0, b));
            transport.Status = 0;
            transport.Raw(0x70, new byte[8].AsSpan(0, width), write: true);
            data[0] = 1;
            transport.Raw(0x70, data, write: true);
            Assert.Equal(0u, transport.Status);
        }

        transport.Raw(0x72, new byte[] { 1, 0, 0, 0 }, write: true);
        Assert.Equal(0u, transport.Status);
    }

    [Fact]
    public void An_interrupt_stands_until_it_is_acknowledged()
    {
        using var rig = new BlockRig(Variant.Default);
        var transport = (TestTransportMmio)rig.Driver.Transport;
        int before = rig.Rig.Interrupts;
        rig.Do(BlockRig.Flush, 0, 0, 0);
        Assert.Equal(before + 1, rig.Rig.Interrupts);
        Assert.Equal(1u, transport.Read(0x060));
        transport.Write(0x064, 2);
        Assert.Equal(1u, transport.Read(0x060));
        transport.Write(0x064, 1);
        Assert.Equal(0u, transport.Read(0x060));
    }

    [Fact]
    public void QueueReady_0_stops_a_queue()
    {
        using var rig = new BlockRig(Variant.Default);
        var transport = (TestTransportMmio)rig.Driver.Transport;
        transport.Write(0x030, 0);
        transport.Write(0x044, 0);
        Assert.Equal(0u, transport.Read(0x044));
        rig.Add(BlockRig.Flush, 0, 0, 0, out _);
        rig.Driver.Transport.Notify(0);
        rig.Rig.RunLoop();
        Assert.False(rig.Queue.TryTake(out _, out _));
    }
}
