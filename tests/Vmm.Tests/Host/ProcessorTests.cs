using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Tests.Host;

public sealed class ProcessorTests
{
    [Fact]
    public void What_the_C_library_keeps_of_CPUID_is_what_CPUID_says()
    {
        var asked = new CpuFeatureSet(
            [Processor.Cpuid(1), Processor.Cpuid(7), Processor.Cpuid(7, 1), Processor.Cpuid(0xd, 1), Processor.Cpuid(0x8000_0001)]);
        Assert.Equal(asked.Names, Processor.Features.Names);
        Assert.True(Processor.Features.Contains("sse2"));
    }

    [Fact]
    public void A_table_without_the_processors_name_gets_it()
    {
        CpuidEntry[] table = [new() { Function = 0x8000_0002 }, new() { Function = 0x8000_0003 }, new() { Function = 0x8000_0004 }];
        Processor.AddName(table);
        Assert.All(table, entry => Assert.Equal(Processor.Cpuid(entry.Function).Eax, entry.Eax));
        Assert.NotEqual(0u, table[0].Eax);
    }

    [Fact]
    public void A_short_name_stays()
    {
        CpuidEntry[] table = [new() { Function = 0x8000_0002, Eax = 0x41 }, new() { Function = 0x8000_0003 }, new() { Function = 0x8000_0004 }];
        Processor.AddName(table);
        Assert.Equal((0x41u, 0u, 0u), (table[0].Eax, table[1].Eax, table[2].Eax));
    }
}
