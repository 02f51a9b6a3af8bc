namespace Vmm.Devices.Tests.Virtio;

/// <summary>A million random accesses to the registers of each device over each transport: nothing throws, the
/// event loop comes to rest, what is allocated stays small, and after a reset the device serves as before.</summary>
public sealed class RegisterFuzzTests
{
    private const int Accesses = 1_000_000;

    // Requests in flight and lines of the log are the test's own; a device takes nothing for an access.
    private const long MostAllocated = 64L << 20;

    [Theory]
    [InlineData(TransportKind.Mmio, TargetKind.Block)]
    [InlineData(TransportKind.Mmio, TargetKind.NetReceive)]
    [InlineData(TransportKind.Mmio, TargetKind.Rng)]
    [InlineData(TransportKind.Pci, TargetKind.Block)]
    [InlineData(TransportKind.Pci, TargetKind.NetReceive)]
    [InlineData(TransportKind.Pci, TargetKind.Rng)]
    [InlineData(TransportKind.Pci, TargetKind.VsockTransmit)]
    [InlineData(TransportKind.Pci, TargetKind.BalloonInflate)]
    [InlineData(TransportKind.Pci, TargetKind.ConsoleControl)]
    public void A_million_random_accesses_do_no_harm_and_the_device_still_serves(TransportKind transport, TargetKind kind)
    {
        using var target = new TestTarget(kind, new Variant(transport, RingKind.Split));
        TestTransport registers = target.Driver.Transport;
        var random = new Random(0x74726976 + (int)kind);
        Span<byte> data = stackalloc byte[8];
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < Accesses; i++)
        {
            Span<byte> part = data[..(random.Next(2) == 0 ? 4 : random.Next(1, 9))];
            random.NextBytes(part);
            switch (random.Next(4))
            {
                case 0:
                    part.Clear();
                    part[0] = (byte)random.Next(16);
                    break;
                case 1 when part.Length == 4:
                    BitConverter.TryWriteBytes(part, (uint)random.Next((int)TestRig.LowMemory)); // addresses of rings
                    break;
            }

            // Registers first; then the notifications and tables behind them, and the end of the window.
            ulong offset = (ulong)(random.Next(8) == 0 ? random.NextInt64((long)registers.RawLength) : random.Next(0x120));
            registers.Raw(random.Next(2) == 0 ? offset & ~3UL : offset, part, write: random.Next(3) != 0);
            if (random.Next(64) == 0)
            {
                Assert.InRange(target.Rig.RunLoop(1000), 0, 999);
                target.Rig.Log.Clear();
            }
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, MostAllocated);
        target.Rig.RunLoop();
        target.Rig.Log.Clear();
        if (registers is TestTransportPci pci)
        {
            pci.EnableMsix();
        }

        target.Driver.Start();
        target.AssertServes();
    }
}
