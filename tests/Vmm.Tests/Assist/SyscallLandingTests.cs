using Vmm.Assist;
using Vmm.Boot;
using Vmm.Devices.Memory;

namespace Vmm.Tests.Assist;

public sealed class SyscallLandingTests : IDisposable
{
    private const ulong Entry = 0xFFFF_FFFF_8180_0000, Table = 0x200000;

    private readonly FakeCpu _cpu = new();

    public void Dispose() => _cpu.Dispose();

    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    public void The_landing_takes_the_place_of_the_entry_and_finishes_the_call(int levels)
    {
        BuildTables(levels, 0);
        var landing = new SyscallLanding(_cpu);
        Assert.True(landing.OnWriteLstar(Entry));
        Assert.True(landing.IsInstalled);
        Assert.Equal(SyscallLanding.Address, _cpu.Msrs[Msr.Lstar]);
        Assert.Equal(Entry, landing.OnReadLstar());

        // User mode can fetch there, and no memory is behind it.
        _cpu.Sregs.Cs.Selector = 0x33;
        _cpu.Regs.Rip = SyscallLanding.Address;
        Assert.Equal(
            AccessResult.Ok,
            PageWalk.Translate(_cpu, SyscallLanding.Address, Access.Fetch, out ulong physical, out _));
        Assert.InRange(physical, Layout.SyscallLanding, Layout.SyscallLanding + Layout.SyscallLandingSize - 1);

        _cpu.Regs.R11 = 0x246;
        Assert.True(landing.TryComplete());
        Assert.Equal(Entry, _cpu.Regs.Rip);
        Assert.Equal(0x246UL, _cpu.Regs.R11);
        Assert.Equal((0x10, 0, 1, 11), (_cpu.Sregs.Cs.Selector, _cpu.Sregs.Cs.Dpl, _cpu.Sregs.Cs.L, _cpu.Sregs.Cs.Type));
        Assert.Equal((0x18, 0, 1, 3), (_cpu.Sregs.Ss.Selector, _cpu.Sregs.Ss.Dpl, _cpu.Sregs.Ss.Db, _cpu.Sregs.Ss.Type));
        Assert.True(_cpu.AreRegsDirty && _cpu.AreSregsDirty);
        Assert.False(landing.TryComplete());
        Assert.Equal(1, landing.Count);
    }

    [Fact]
    public void A_jump_to_the_landing_gives_no_flags_that_a_program_may_not_have()
    {
        BuildTables(4, 0);
        var landing = new SyscallLanding(_cpu);
        Assert.True(landing.OnWriteLstar(Entry));
        _cpu.Regs.Rip = SyscallLanding.Address;
        Assert.False(landing.TryComplete());                          // the kernel itself has no business there
        _cpu.Sregs.Cs.Selector = 0x33;
        _cpu.Regs.Rflags = 0x40246;
        _cpu.Regs.R11 = 0xFFFF_FFFF_FFFF_FFFF;
        Assert.True(landing.TryComplete());
        Assert.Equal(0x46UL, _cpu.Regs.Rflags);
        Assert.Equal(0x244FD7UL, _cpu.Regs.R11);
    }

    [Fact]
    public void A_second_vcpu_shares_the_page_table_entry()
    {
        BuildTables(4, 0);
        Assert.True(new SyscallLanding(_cpu).OnWriteLstar(Entry));
        var second = new SyscallLanding(_cpu);
        Assert.True(second.OnWriteLstar(Entry + 64));
        Assert.True(second.IsInstalled);
        Assert.Equal(Entry + 64, second.OnReadLstar());
    }

    [Fact]
    public void Where_the_guest_has_a_mapping_of_its_own_LSTAR_is_left_alone()
    {
        BuildTables(4, 0x1083);
        var landing = new SyscallLanding(_cpu);
        Assert.True(landing.OnWriteLstar(Entry));
        Assert.False(landing.IsInstalled);
        Assert.Equal(Entry, _cpu.Msrs[Msr.Lstar]);
        Assert.Equal(Entry, landing.OnReadLstar());
        Assert.Equal(0x1083UL, _cpu.Memory.Read<ulong>(new GuestAddress(Table + 0x2000 + (511 * 8))));
    }

    [Fact]
    public void A_value_that_is_not_canonical_is_refused() =>
        Assert.False(new SyscallLanding(_cpu).OnWriteLstar(0x1234_0000_0000_0000));

    [Fact]
    public void A_hypercall_is_answered_at_the_second_kick_in_the_same_place()
    {
        var hypercall = new StuckHypercall(_cpu, new LinearMemory(_cpu));
        _cpu.Load([0x0F, 0x01, 0xC1]);
        Assert.False(hypercall.OnKick());
        Assert.True(hypercall.OnKick());
        Assert.Equal(unchecked((ulong)-1000L), _cpu.Regs.Rax);
        Assert.Equal(FakeCpu.CodeAddress + 3, _cpu.Regs.Rip);
        Assert.False(hypercall.OnKick());

        _cpu.Load([0x0F, 0x01, 0xC2]);
        Assert.False(hypercall.OnKick());
        Assert.False(hypercall.OnKick());
    }

    private void BuildTables(int levels, ulong last)
    {
        _cpu.Sregs.Cr3 = Table;
        _cpu.Sregs.Cr4 |= levels == 5 ? Bits.Cr4La57 : 0;
        for (ulong level = 0; level < (ulong)levels - 2; level++)
        {
            _cpu.Memory.Write(new GuestAddress(Table + (level * 0x1000) + (511 * 8)), (Table + ((level + 1) * 0x1000)) | 0x67);
        }

        _cpu.Memory.Write(new GuestAddress(Table + ((ulong)(levels - 2) * 0x1000) + (511 * 8)), last);
    }
}
