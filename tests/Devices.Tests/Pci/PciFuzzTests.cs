using Vmm.Devices.Bus;
using Vmm.Devices.Pci;

namespace Vmm.Devices.Tests.Pci;

/// <summary>A full bus, and a guest that writes random values to each register.</summary>
public sealed class PciFuzzTests
{
    private const int Command = 4, Bar0 = 0x10, Bar2 = 0x18, Bar3 = 0x1c;

    private readonly TestPci _pci = new();
    private readonly TestFunction[] _functions;

    public PciFuzzTests()
    {
        _functions = [.. Enumerable.Range(1, 31).Select(slot =>
            new TestFunction($"f{slot}", 0x1000UL << (slot % 5), slot % 3 == 0 ? 0x4000UL << slot : 0))];
        for (int i = 0; i < _functions.Length; i++)
        {
            _pci.Bus.Add(i + 1, _functions[i]);
        }
    }

    /// <summary>Every width and alignment at every offset of every function of every device, by both ways.</summary>
    [Fact]
    public void Writes_of_every_width_to_every_offset_of_every_function_change_the_guests_bits_only()
    {
        byte[] data = new byte[8];
        foreach (byte fill in new byte[] { 0xff, 0x00, 0xa5 })
        {
            Array.Fill(data, fill);
            for (uint function = 0; function < 32 * 8; function++)
            {
                for (int offset = 0; offset < 0x1000; offset++)
                {
                    for (int width = 1; width <= 8; width++)
                    {
                        _pci.Memory.Write(TestPci.EcamBase + (function << 12) + (ulong)offset, data.AsSpan(0, width));
                    }
                }

                for (uint register = 0; register < 256; register += 4)
                {
                    _pci.WritePort(0xcf8, 0x8000_0000 | (function << 8) | register, 4);
                    for (int at = 0; at < 4; at++)
                    {
                        for (int width = 1; width <= 8; width++)
                        {
                            _pci.Ports.Write((ulong)(0xcfc + at), data.AsSpan(0, width));
                        }
                    }
                }
            }

            AssertIdentities();
            AssertWindows();
        }
    }

    [Fact]
    public void A_million_moves_leave_no_window_on_memory_on_ECAM_or_on_another()
    {
        var random = new Random(0xba5);
        for (int i = 0; i < 1_000_000; i++)
        {
            int slot = random.Next(1, 32);
            switch (random.Next(4))
            {
                case 0:
                    _pci.Write(slot, Command, (uint)random.Next(4), 2);
                    break;
                case 1:
                    _pci.Write(slot, Bar3, random.Next(4) == 0 ? (uint)random.NextInt64() : (uint)random.Next(3));
                    break;
                default:
                    _pci.Write(slot, random.Next(4) == 0 ? Bar2 : Bar0, random.Next(5) switch
                    {
                        0 => (uint)random.NextInt64(),
                        1 => (uint)random.NextInt64((long)TestPci.RamEnd),                  // RAM
                        2 => (uint)TestPci.EcamBase + (uint)random.Next(-0x2_0000, 0x11_0000),
                        3 => 0xc000_0000 + (uint)(random.Next(64) << 12),                   // each other
                        _ => random.Next(2) == 0 ? uint.MaxValue : 0,
                    });
                    break;
            }

            if (i % 256 == 0)
            {
                AssertWindows();
            }
        }

        AssertWindows();
        AssertIdentities();
        Assert.True(_functions.Count(f => f.Bar.MappedAt is not null) > 2);
    }

    private void AssertIdentities()
    {
        Assert.Equal(0x0008_1b36u, _pci.Read(0, 0));
        for (int slot = 1; slot < 32; slot++)
        {
            Assert.Equal(0x5678_1234u, _pci.Read(slot, 0));
            Assert.Equal(0xffff_ffffu, _pci.Read(slot, 0, function: 1));
        }
    }

    /// <summary>Each window is where its register says, or unmapped where that place is taken; none overlaps anything.</summary>
    private void AssertWindows()
    {
        ulong end = TestPci.RamEnd;
        foreach (BusRange range in _pci.Memory.Ranges)
        {
            Assert.True(range.Start >= end, $"{range.Device.Name} at 0x{range.Start:x} overlaps what is before it");
            Assert.True(range.Length - 1 <= ulong.MaxValue - range.Start);
            end = range.Start + (range.Length - 1);
        }

        int mapped = 0;
        for (int i = 0; i < _functions.Length; i++)
        {
            bool isDecoded = (_pci.Read(i + 1, Command, 2) & 2) != 0;
            foreach (PciBar? bar in new[] { _functions[i].Bar, _functions[i].Bar64 })
            {
                if (bar?.MappedAt is { } at)
                {
                    Assert.True(isDecoded);
                    Assert.Equal(bar.Address, at);
                    mapped++;
                }
                else if (bar is not null && isDecoded)
                {
                    Assert.True(IsTaken(bar), $"window {bar.Index} of slot {i + 1} is nowhere, and 0x{bar.Address:x} is free");
                }
            }
        }

        Assert.Equal(mapped + 1, _pci.Memory.Ranges.Length);        // and ECAM
    }

    private bool IsTaken(PciBar bar)
    {
        ulong last = bar.Address + (bar.Size - 1);
        if (bar.Address < TestPci.RamEnd || last < bar.Address)
        {
            return true;
        }

        foreach (BusRange range in _pci.Memory.Ranges)
        {
            if (range.Start <= last && bar.Address <= range.Start + (range.Length - 1))
            {
                return true;
            }
        }

        return false;
    }
}
