using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Pci;
using Vmm.Devices.Tests.Legacy;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Pci;

public sealed class PciConfigTests
{
    private readonly TestPci _pci = new();
    private readonly TestFunction _function = new("test", size64: 1UL << 33);

    public PciConfigTests() => _pci.Bus.Add(3, _function);

    [Fact]
    public void The_header_says_what_the_device_is()
    {
        Assert.Equal(0x5678_1234u, _pci.Read(3, 0));
        Assert.Equal(0x0102_0304u, _pci.Read(3, 8));
        Assert.Equal(0xdef0_9abcu, _pci.Read(3, 0x2c));
        Assert.Equal(0u, _pci.Read(3, 0x0c));               // header type 0, one function
        Assert.Equal(0x0600_0000u, _pci.Read(0, 8));        // the host bridge
        Assert.Equal(0x0008_1b36u, _pci.Read(0, 0));
    }

    [Fact]
    public void Linux_accepts_mechanism_1()
    {
        _pci.WritePort(0xcfb, 0x01, 1);
        uint before = _pci.ReadPort(0xcf8, 4);
        _pci.WritePort(0xcf8, 0x8000_0000, 4);
        Assert.Equal(0x8000_0000, _pci.ReadPort(0xcf8, 4));
        Assert.Equal(0x0600u, _pci.ReadPort(0xcfe, 2) == 0x0008 ? 0x0600u : 0u);
        _pci.WritePort(0xcf8, before, 4);
    }

    [Fact]
    public void The_address_port_keeps_its_bits_and_takes_only_whole_accesses()
    {
        _pci.WritePort(0xcf8, 0xffff_ffff, 4);
        Assert.Equal(0x80ff_fffcu, _pci.ReadPort(0xcf8, 4));
        _pci.WritePort(0xcf8, 0, 1);
        _pci.WritePort(0xcf8, 0, 2);
        Assert.Equal(0x80ff_fffcu, _pci.ReadPort(0xcf8, 4));
        Assert.Equal(0xffu, _pci.ReadPort(0xcf8, 1));
        Assert.Equal(0xffffu, _pci.ReadPort(0xcf8, 2));
    }

    [Fact]
    public void The_reset_port_lives_between_address_and_data()
    {
        var power = new RecordingPower();
        _pci.Ports.Add(ResetPort.Port, 1, new ResetPort(power));
        _pci.WritePort(0xcf8, 0x8000_1806, 4);
        Assert.Equal(0, power.Resets);
        _pci.WritePort(0xcf9, 0x06, 1);
        Assert.Equal(1, power.Resets);
        Assert.Equal(0x8000_1804u, _pci.ReadPort(0xcf8, 4));
    }

    /// <summary>Every width at every offset of every function of the bus, by both ways, against the bytes read one by
    /// one from the configuration space itself.</summary>
    [Fact]
    public void Each_access_of_each_width_reads_what_the_space_holds()
    {
        byte[] wide = new byte[8];
        foreach (int slot in Enumerable.Range(0, 32))
        {
            byte[] expected = new byte[0x1000];
            Array.Fill(expected, (byte)0xff);
            if (slot is 0 or 3)
            {
                for (int i = 0; i < 256; i++)
                {
                    expected[i] = (byte)_pci.Read(slot, i, 1);
                }
            }

            for (int function = 0; function < 8; function++)
            {
                byte[] want = function == 0 ? expected : Enumerable.Repeat((byte)0xff, 0x1000).ToArray();
                for (int offset = 0; offset < 0x1000; offset++)
                {
                    foreach (int width in new[] { 1, 2, 3, 4, 5, 8 })
                    {
                        Span<byte> data = wide.AsSpan(0, width);
                        _pci.Memory.Read(TestPci.EcamBase + (ulong)((slot << 15) | (function << 12) | offset), data);
                        for (int i = 0; i < width; i++)
                        {
                            byte byteWanted = offset + i < 0x1000 ? want[offset + i] : (byte)0xff;
                            if (byteWanted != data[i])
                            {
                                Assert.Fail($"ECAM slot {slot}.{function} offset {offset:x} width {width}");
                            }
                        }
                    }
                }

                for (int offset = 0; offset < 256; offset++)
                {
                    _pci.WritePort(0xcf8, 0x8000_0000 | (uint)(slot << 11) | (uint)(function << 8) | (uint)(offset & 0xfc), 4);
                    foreach (int width in new[] { 1, 2, 4 })
                    {
                        uint value = _pci.ReadPort((ushort)(0xcfc + (offset & 3)), width);
                        for (int i = 0; i < width; i++)
                        {
                            byte byteWanted = (offset & 3) + i < 4 ? want[offset + i] : (byte)0xff;
                            if (byteWanted != (byte)(value >> (8 * i)))
                            {
                                Assert.Fail($"ports slot {slot}.{function} offset {offset:x} width {width}");
                            }
                        }
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData(0x0000_1800u)]                              // not enabled
    [InlineData(0x8100_1800u)]                              // a register beyond 255, in AMD's way
    [InlineData(0x8001_1800u)]                              // another bus
    [InlineData(0x8000_1900u)]                              // another function
    public void Addresses_without_a_device_read_as_ones_and_take_no_writes(uint address)
    {
        _pci.WritePort(0xcf8, address, 4);
        Assert.Equal(0xffff_ffffu, _pci.ReadPort(0xcfc, 4));
        _pci.WritePort(0xcf8, address | 0x3c, 4);
        _pci.WritePort(0xcfc, 0x55, 1);
        Assert.Equal(0u, _pci.Read(3, 0x3c, 1));
    }

    [Fact]
    public void Only_the_guests_bits_can_be_written()
    {
        int capability = _function.Space.AddCapability(0x09, 7);
        int second = _function.Space.AddCapability(0x11, 12);
        var before = Enumerable.Range(0, 64).Select(i => _pci.Read(3, i * 4)).ToArray();
        Assert.Equal((uint)capability, _pci.Read(3, 0x34, 1));
        Assert.Equal(((uint)second << 8) | 0x09, _pci.Read(3, capability, 2));
        Assert.Equal(0x0011u, _pci.Read(3, second, 2));
        Assert.Equal(0x0010_0000u, _pci.Read(3, 4));        // there is a list
        foreach (uint value in new[] { 0xffff_ffffu, 0u })
        {
            for (int i = 0; i < 64; i++)
            {
                _pci.Write(3, i * 4, value);
            }

            uint[] writable = new uint[64];
            writable[1] = 0x0546;
            writable[3] = 0xff;
            writable[4] = 0xffff_c000;
            writable[7] = 0xffff_fffe;
            writable[15] = 0xff;
            for (int i = 0; i < 64; i++)
            {
                Assert.Equal((before[i] & ~writable[i]) | (value & writable[i]), _pci.Read(3, i * 4));
            }
        }
    }

    [Fact]
    public void Capabilities_that_do_not_fit_are_refused()
    {
        var space = new PciConfigSpace(default);
        space.AddCapability(9, 190);
        Assert.Throws<ArgumentException>(() => space.AddCapability(9, 4));
        Assert.Throws<ArgumentException>(() => new PciConfigSpace(default).AddCapability(9, 1));
        Assert.Throws<ArgumentException>(() => new PciConfigSpace(default).AddCapability(9, int.MaxValue));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(32)]
    [InlineData(-1)]
    public void Slots_are_checked(int slot) =>
        Assert.Throws<ArgumentException>(() => _pci.Bus.Add(slot, new TestFunction("again")));

    [Fact]
    public void A_million_random_accesses_do_no_harm()
    {
        _pci.Bus.Add(5, new TestFunction("other"));
        var random = new Random(0xcf8);
        Span<byte> data = stackalloc byte[8];
        for (int i = 0; i < 1_000_000; i++)
        {
            int width = random.Next(1, 9);
            random.NextBytes(data);
            int slot = random.Next(3) * 3 - (random.Next(2) == 0 ? 1 : 0);
            ulong offset = (ulong)random.Next(random.Next(2) == 0 ? 0x40 : 0x1000);
            ulong address = TestPci.EcamBase + ((ulong)(Math.Max(slot, 0) & 31) << 15) + offset;
            switch (random.Next(5))
            {
                case 0:
                    _pci.Memory.Read(address, data[..width]);
                    break;
                case 1:
                    _pci.Memory.Write(address, data[..width]);
                    break;
                case 2:
                    _pci.Ports.Write((ulong)(0xcf8 + random.Next(8)), data[..width]);
                    break;
                case 3:
                    _pci.Ports.Read((ulong)(0xcf8 + random.Next(8)), data[..width]);
                    break;
                default:
                    BitConverter.TryWriteBytes(data, 0x8000_0000u | (uint)random.Next(0x10000) & 0xfffc);
                    _pci.Ports.Write(0xcf8, data[..4]);
                    break;
            }
        }

        Assert.True(_pci.Memory.Ranges.Length <= 4);        // ECAM and three windows
        Assert.Equal(0x5678_1234u, _pci.Read(3, 0));
    }

    [Fact]
    public void Accesses_allocate_nothing()
    {
        var ecam = new PciEcam(_pci.Bus);
        // Not the command register nor the BARs: a window that moves makes the bus a new table.
        var random = new Random(7);
        byte[] data = new byte[4];
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 20_000; i++)
            {
                random.NextBytes(data);
                ecam.Read((ulong)random.Next(0x10_0000), data);
                ecam.Write((3 << 15) | 0x28 | (ulong)random.Next(0xf00), data);
            }
        }));
    }
}
