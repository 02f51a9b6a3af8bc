using Vmm.Assist;
using Vmm.Devices.Memory;

namespace Vmm.Tests.Assist;

/// <summary>Random page tables and rights, against the rules of Intel SDM volume 3, 4.6, written down a second time.
/// </summary>
public sealed class PageWalkTests : IDisposable
{
    private const ulong P = 1, W = 2, U = 4, A = 32, D = 64, Large = 128, Nx = 1UL << 63;
    private const ulong Root = 0x100000;

    private readonly FakeCpu _cpu = new();
    private readonly Random _random = new(11);

    public void Dispose() => _cpu.Dispose();

    [Theory]
    [InlineData(4, 1)]
    [InlineData(4, 2)]
    [InlineData(4, 3)]
    [InlineData(5, 1)]
    [InlineData(5, 2)]
    [InlineData(5, 3)]
    public void Rights_of_all_levels_decide(int levels, int leafLevel)
    {
        int faults = 0;
        for (int i = 0; i < 20_000; i++)
        {
            ulong linear = RandomLinear(levels);
            ulong[] entries = BuildPath(levels, leafLevel, linear, out ulong frame);
            var access = (Access)_random.Next(3);
            _cpu.Sregs.Cr0 = Flip(_cpu.Sregs.Cr0, Bits.Cr0Wp);
            ulong cr4 = Flip(Flip(_cpu.Sregs.Cr4, Bits.Cr4Smap), Bits.Cr4Smep);
            _cpu.Sregs.Cr4 = levels == 5 ? cr4 | Bits.Cr4La57 : cr4 & ~Bits.Cr4La57;
            _cpu.Sregs.Efer = Flip(_cpu.Sregs.Efer, Bits.EferNxe);
            _cpu.Regs.Rflags = Flip(2, Bits.FlagAc);
            _cpu.Sregs.Cs.Selector = (ushort)(_random.Next(2) == 0 ? 0x10 : 0x33);

            uint? expected = ExpectedError(entries, access);
            AccessResult result = PageWalk.Translate(
                _cpu, linear, access, out ulong physical, out GuestFault fault);
            if (expected is { } error)
            {
                faults++;
                Assert.Equal(AccessResult.Fault, result);
                Assert.Equal(GuestFault.PageFault(error, linear), fault);
                continue;
            }

            ulong inPage = (1UL << (12 + (9 * (leafLevel - 1)))) - 1;
            Assert.Equal(AccessResult.Ok, result);
            Assert.Equal(frame | (linear & inPage), physical);
            for (int level = levels; level >= leafLevel; level--)
            {
                ulong wanted = entries[level] | A | (level == leafLevel && access == Access.Write ? D : 0);
                Assert.Equal(wanted, _cpu.Memory.Read<ulong>(Slot(levels, level, linear)));
            }
        }

        Assert.InRange(faults, 2_000, 19_000);
    }

    [Fact]
    public void Reserved_bits_are_reported_as_such()
    {
        ulong linear = 0x1234_5000;
        _ = BuildPath(4, 2, linear, out _);
        GuestAddress slot = Slot(4, 2, linear);
        _cpu.Memory.Write(slot, P | W | Large | 0x2000 | 0x40_0000);
        Assert.Equal(AccessResult.Fault, PageWalk.Translate(_cpu, linear, Access.Read, out _, out GuestFault fault));
        Assert.Equal(GuestFault.PageFault(9, linear), fault);
    }

    [Fact]
    public void A_table_outside_memory_is_no_page_fault()
    {
        _cpu.Sregs.Cr3 = 0x1_0000_0000;
        Assert.Equal(AccessResult.NotMemory, PageWalk.Translate(_cpu, 0, Access.Read, out _, out _));
    }

    [Fact]
    public void Narrow_tables_map_small_and_large_pages()
    {
        _cpu.Sregs.Efer = 0;
        _cpu.Sregs.Cr4 = Bits.Cr4Pse;
        _cpu.Sregs.Cr3 = Root;
        _cpu.Memory.Write(new GuestAddress(Root + 4), (uint)(0x101000 | P | W));
        _cpu.Memory.Write(new GuestAddress(0x101000 + (3 * 4)), (uint)(0x7000 | P));
        _cpu.Memory.Write(new GuestAddress(Root + 8), (uint)(0x80_0000 | P | W | Large));
        Assert.Equal(AccessResult.Ok, PageWalk.Translate(_cpu, 0x40_3123, Access.Read, out ulong small, out _));
        Assert.Equal(0x7123UL, small);
        Assert.Equal(AccessResult.Fault, PageWalk.Translate(_cpu, 0x40_3123, Access.Write, out _, out GuestFault fault));
        Assert.Equal(3u, fault.ErrorCode);
        Assert.Equal(AccessResult.Ok, PageWalk.Translate(_cpu, 0x81_2345, Access.Write, out ulong large, out _));
        Assert.Equal(0x81_2345UL, large);
        Assert.Equal((uint)(0x80_0000 | P | W | Large | A | D), _cpu.Memory.Read<uint>(new GuestAddress(Root + 8)));
    }

    [Fact]
    public void Pae_tables_start_with_four_entries_without_rights()
    {
        _cpu.Sregs.Efer = Bits.EferNxe;
        _cpu.Sregs.Cr3 = Root + 0x20;
        _cpu.Memory.Write(new GuestAddress(Root + 0x20 + (3 * 8)), 0x101000 | P);
        _cpu.Memory.Write(new GuestAddress(0x101000 + (511 * 8)), 0x20_0000 | P | W | Large);
        Assert.Equal(
            AccessResult.Ok, PageWalk.Translate(_cpu, 0xFFFF_F123, Access.Write, out ulong physical, out _));
        Assert.Equal(0x3F_F123UL, physical);
        Assert.Equal(0x101000 | P, _cpu.Memory.Read<ulong>(new GuestAddress(Root + 0x20 + (3 * 8))));
    }

    [Fact]
    public void Copies_cross_pages_that_are_not_neighbours()
    {
        // 1 GiB maps to pages 0x30000, 0x20000; what is written there lies in both.
        ulong tables = _cpu.Sregs.Cr3;
        _cpu.Memory.Write(new GuestAddress(tables + 0x1008), tables + 0x3003);
        _cpu.Memory.Write(new GuestAddress(tables + 0x3000), tables + 0x4003);
        _cpu.Memory.Write(new GuestAddress(tables + 0x4000), 0x30003UL);
        _cpu.Memory.Write(new GuestAddress(tables + 0x4008), 0x20003UL);
        var memory = new LinearMemory(_cpu);
        byte[] data = [1, 2, 3, 4, 5, 6];
        Assert.Equal(AccessResult.Ok, memory.Write(0x4000_0FFD, data));
        Assert.Equal(0x03_0201u, _cpu.Memory.Read<uint>(new GuestAddress(0x30FFD)) & 0xFF_FFFF);
        Assert.Equal(0x06_0504u, _cpu.Memory.Read<uint>(new GuestAddress(0x20000)));
        byte[] back = new byte[6];
        Assert.Equal(AccessResult.Ok, memory.Read(0x4000_0FFD, back));
        Assert.Equal(data, back);
        Assert.Equal(AccessResult.Fault, memory.Write(0x4000_1FFE, data));
        Assert.Equal(0x4000_2000UL, memory.Fault.Address);
        Assert.Equal((ushort)0, _cpu.Memory.Read<ushort>(new GuestAddress(0x20FFE)));
    }

    private ulong Flip(ulong word, ulong bit) => _random.Next(2) == 0 ? word | bit : word & ~bit;

    private ulong RandomLinear(int levels)
    {
        ulong value = (ulong)_random.NextInt64(long.MaxValue);
        int unused = levels == 5 ? 7 : 16;
        return (ulong)((long)(value << unused) >> unused);
    }

    private static GuestAddress Slot(int levels, int level, ulong linear)
    {
        ulong table = Root + (ulong)((levels - level) * 0x1000);
        return new GuestAddress(table + ((linear >> (12 + (9 * (level - 1))) & 511) * 8));
    }

    /// <summary>One table per level, one after another, and one entry in each.</summary>
    private ulong[] BuildPath(int levels, int leafLevel, ulong linear, out ulong frame)
    {
        var entries = new ulong[levels + 1];
        _cpu.Sregs.Cr3 = Root;
        frame = 0;
        for (int level = levels; level >= leafLevel; level--)
        {
            ulong entry = P | (ulong)_random.Next(256) & (W | U | A) | (_random.Next(4) == 0 ? Nx : 0);
            entry |= _random.Next(4) == 0 ? 0 : W | U;
            entry = _random.Next(16) == 0 ? entry & ~P : entry;
            if (level == leafLevel)
            {
                frame = (1UL << (12 + (9 * (level - 1)))) * 3;
                entry |= frame | (level > 1 ? Large : 0);
            }
            else
            {
                entry |= Root + (ulong)((levels - level + 1) * 0x1000);
            }

            entries[level] = entry;
            _cpu.Memory.Write(Slot(levels, level, linear), entry);
        }

        return entries;
    }

    private uint? ExpectedError(ulong[] entries, Access access)
    {
        bool isUser = _cpu.Sregs.Cs.Selector == 0x33, isWrite = access == Access.Write, isFetch = access == Access.Fetch;
        bool nxe = (_cpu.Sregs.Efer & Bits.EferNxe) != 0, smep = (_cpu.Sregs.Cr4 & Bits.Cr4Smep) != 0;
        uint error = (isWrite ? 2u : 0) | (isUser ? 4u : 0) | (isFetch && (nxe || smep) ? 16u : 0);
        ulong rights = W | U;
        bool noExecute = false;
        for (int level = entries.Length - 1; level >= 1 && entries[level] != 0; level--)
        {
            if ((entries[level] & P) == 0)
            {
                return error;
            }

            if (!nxe && (entries[level] & Nx) != 0)
            {
                return error | 9;
            }

            rights &= entries[level];
            noExecute |= (entries[level] & Nx) != 0;
        }

        bool isUserPage = (rights & U) != 0, wp = (_cpu.Sregs.Cr0 & Bits.Cr0Wp) != 0;
        bool smap = (_cpu.Sregs.Cr4 & Bits.Cr4Smap) != 0 && (_cpu.Regs.Rflags & Bits.FlagAc) == 0;
        bool isAllowed = isUser
            ? isUserPage && !(isWrite && (rights & W) == 0) && !(isFetch && noExecute)
            : isFetch
                ? !noExecute && !(isUserPage && smep)
                : !(isUserPage && smap) && !(isWrite && wp && (rights & W) == 0);
        return isAllowed ? null : error | 1;
    }
}
