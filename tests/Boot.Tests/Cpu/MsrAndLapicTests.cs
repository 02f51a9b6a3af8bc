namespace Vmm.Boot.Tests.Cpu;

public sealed class MsrAndLapicTests
{
    [Theory]
    [InlineData(true, 0xfee00900UL)]
    [InlineData(false, 0xfee00800UL)]
    public void Only_the_first_vcpu_is_told_that_it_boots(bool boot, ulong apicBase)
    {
        MsrEntry[] msrs = MsrInitial.For(boot);
        Assert.Equal(apicBase, Assert.Single(msrs, msr => msr.Index == 0x1b).Data);
        Assert.Equal(apicBase | 0x400, Assert.Single(MsrInitial.For(boot, x2apic: true), msr => msr.Index == 0x1b).Data);
        Assert.Equal(0x1801UL, Assert.Single(msrs, msr => msr.Index == 0x1a0).Data);
        Assert.Equal(1UL, Assert.Single(msrs, msr => msr.Index == 0x3a).Data);
        Assert.Equal(5UL, Assert.Single(MsrInitial.For(boot, vmx: true), msr => msr.Index == 0x3a).Data);
        Assert.Equal(0x806UL, Assert.Single(msrs, msr => msr.Index == 0x2ff).Data);
        Assert.Equal(msrs.Length, msrs.Select(msr => msr.Index).Distinct().Count());
        Assert.Equal(0x10u, msrs[^1].Index);
    }

    [Theory]
    [InlineData(true, 0x700u)]
    [InlineData(false, 0x10700u)]
    public void Virtual_wire_mode_sets_the_two_local_interrupts_and_nothing_else(bool boot, uint lint0)
    {
        byte[] before = new byte[CpuLapic.StateSize];
        new Random(1).NextBytes(before);
        BitConverter.TryWriteBytes(before.AsSpan(0x350), 0x10000u);
        BitConverter.TryWriteBytes(before.AsSpan(0x360), 0x10000u);
        byte[] after = [.. before];
        CpuLapic.SetVirtualWire(after, boot);
        Assert.Equal(lint0, BitConverter.ToUInt32(after, 0x350));
        Assert.Equal(0x400u, BitConverter.ToUInt32(after, 0x360));
        before.AsSpan(0x350, 4).CopyTo(after.AsSpan(0x350));
        before.AsSpan(0x360, 4).CopyTo(after.AsSpan(0x360));
        Assert.Equal(before, after);
        Assert.Throws<ArgumentOutOfRangeException>(() => CpuLapic.SetVirtualWire(new byte[1023], boot));
    }
}
