using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Boot.Tests;

public sealed class MpTableTests
{
    private static readonly GuestAddress At = new(0xf0000);

    private static byte[] Write(MpTableOptions options, int room = 0x10000)
    {
        using var test = new TestMemory(0x100000);
        byte[] table = new byte[MpTable.Write(test.Memory, At, room, options)];
        test.Memory.Read(At, table);
        return table;
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    [InlineData(254, 254)]
    [InlineData(300, 254)]
    public void The_table_adds_up_and_counts_right(int cpus, int listed)
    {
        byte[] table = Write(new MpTableOptions { Cpus = cpus, PciInterrupts = [new(1, 0, 16), new(31, 3, 23)] });
        Assert.Equal("_MP_"u8.ToArray(), table[..4]);
        Assert.Equal(0xf0010u, BitConverter.ToUInt32(table, 4));
        Assert.Equal(0, Checksum.Of(table.AsSpan(0, 16)));

        ReadOnlySpan<byte> config = table.AsSpan(16);
        Assert.Equal(config.Length, BitConverter.ToUInt16(config[4..]));
        Assert.Equal(0, Checksum.Of(config));

        var kinds = new int[5];
        int entries = 0;
        for (ReadOnlySpan<byte> rest = config[44..]; rest.Length > 0; rest = rest[(rest[0] == 0 ? 20 : 8)..])
        {
            entries++;
            kinds[rest[0]]++;
            switch (rest[0])
            {
                case 0:
                    Assert.Equal(kinds[0] - 1, rest[1]);
                    Assert.Equal(kinds[0] == 1 ? 3 : 1, rest[3]);
                    break;
                case 2:
                    Assert.Equal(listed, rest[1]);
                    Assert.Equal(0xfec00000u, BitConverter.ToUInt32(rest[4..]));
                    break;
                case 3:
                    Assert.Equal(listed, rest[6]);
                    Assert.Equal(rest[4] == 0 ? rest[5] : rest[5] == 4 ? 16 : 23, rest[7]);
                    break;
            }
        }

        Assert.Equal([listed, 2, 1, 17, 2], kinds);
        Assert.Equal(entries, BitConverter.ToUInt16(config[34..]));
    }

    [Fact]
    public void Without_pci_interrupts_there_is_no_pci_bus() =>
        Assert.Equal(-1, Write(new MpTableOptions { Cpus = 1 }).AsSpan().IndexOf("PCI"u8));

    [Fact]
    public void A_table_that_does_not_fit_or_is_not_aligned_is_refused()
    {
        int length = Write(new MpTableOptions { Cpus = 4 }).Length;
        Assert.Equal(length, Write(new MpTableOptions { Cpus = 4 }, length).Length);
        Assert.Throws<ArgumentException>(() => Write(new MpTableOptions { Cpus = 4 }, length - 1));
        using var test = new TestMemory(0x100000);
        var one = new MpTableOptions { Cpus = 1 };
        Assert.Throws<ArgumentException>(() => MpTable.Write(test.Memory, new GuestAddress(0xf0008), 0x1000, one));
        Assert.Throws<GuestMemoryException>(() => MpTable.Write(test.Memory, new GuestAddress(0xffff0), 0x1000, one));
    }
}
