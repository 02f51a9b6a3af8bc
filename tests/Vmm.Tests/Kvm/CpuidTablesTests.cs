using Vmm.Boot;
using Vmm.Kvm.State;

namespace Vmm.Tests.Kvm;

public sealed class CpuidTablesTests
{
    [Theory]
    [InlineData(1, 1u << 27, true)]         // OSXSAVE, as CR4 has it
    [InlineData(1, 1u << 26, false)]
    [InlineData(7, 1u << 4, true)]          // OSPKE
    [InlineData(7, 1u << 3, false)]
    [InlineData(2, 1u << 27, false)]
    public void What_follows_a_guests_registers_does_not_count(uint function, uint ecx, bool isSame) =>
        Assert.Equal(isSame, CpuidTables.AreSame([new CpuidEntry { Function = function }], [new CpuidEntry { Function = function, Ecx = ecx }]));

    [Fact]
    public void Tables_of_another_length_or_order_are_others()
    {
        var zero = new CpuidEntry { Function = 0 };
        var two = new CpuidEntry { Function = 2 };
        Assert.True(CpuidTables.AreSame([zero, two], [zero, two]));
        Assert.False(CpuidTables.AreSame([zero], [zero, two]));
        Assert.False(CpuidTables.AreSame([two, zero], [zero, two]));
        Assert.False(CpuidTables.AreSame([new CpuidEntry { Function = 4, Index = 1 }], [new CpuidEntry { Function = 4 }]));
    }
}
