using System.Runtime.CompilerServices;

namespace Vmm.Boot.Tests.Cpu;

public sealed class CpuidTemplateTests
{
    private static CpuidTable Make(CpuidEntry[] supported, CpuidOptions options, int vcpu = 0) =>
        new(new CpuidTemplate(supported, options).ForVcpu(vcpu));

    [Fact]
    public void An_entry_has_the_kernels_layout()
    {
        Assert.Equal(40, Unsafe.SizeOf<CpuidEntry>());
        var entry = new CpuidEntry { Function = 1, Index = 2, Flags = 3, Eax = 4, Ebx = 5, Ecx = 6, Edx = 7 };
        Assert.Equal([1, 2, 3, 4, 5, 6, 7], new ReadOnlySpan<uint>(ref Unsafe.As<CpuidEntry, uint>(ref entry)).ToArray()
            .Concat(Enumerable.Range(1, 6).Select(i => Unsafe.Add(ref Unsafe.As<CpuidEntry, uint>(ref entry), i))));
        Assert.Equal(16, Unsafe.SizeOf<MsrEntry>());
    }

    [Theory]
    [InlineData(1, 0, 0)]
    [InlineData(2, 1, 1)]
    [InlineData(3, 2, 2)]
    [InlineData(4, 3, 2)]
    [InlineData(255, 254, 8)]
    [InlineData(300, 299, 9)]
    public void Topology_leaves_number_single_threaded_cores(int cpus, int vcpu, uint bits)
    {
        CpuidTable table = Make(SampleCpuid.Intel(), new CpuidOptions { Cpus = cpus }, vcpu);

        CpuidEntry one = table.Get(1);
        Assert.Equal(Math.Min((uint)vcpu, 255), one.Ebx >> 24);
        Assert.Equal(Math.Min((uint)cpus, 255), one.Ebx >> 16 & 0xff);
        Assert.Equal(8u, one.Ebx >> 8 & 0xff);
        Assert.Equal(cpus > 1, (one.Edx >> 28 & 1) == 1);
        Assert.Equal(1u, one.Ecx >> 31);
        Assert.Equal(1u, one.Ecx >> 24 & 1);
        Assert.Equal(1u, one.Ecx >> 21 & 1);

        foreach (uint leaf in new uint[] { 0xb, 0x1f })
        {
            Assert.Equal((0u, 1u, 0x100u, (uint)vcpu), Registers(table.Get(leaf, 0)));
            Assert.Equal((bits, (uint)cpus, 0x201u, (uint)vcpu), Registers(table.Get(leaf, 1)));
            Assert.Equal((0u, 0u, 2u, (uint)vcpu), Registers(table.Get(leaf, 2)));
        }

        CpuidEntry l2 = table.Get(4, 2), l3 = table.Get(4, 3);
        Assert.Equal(0u, l2.Eax >> 14 & 0xfff);
        Assert.Equal((1u << (int)bits) - 1, l3.Eax >> 14 & 0xfff);
        Assert.Equal(Math.Min((1u << (int)bits) - 1, 63), l3.Eax >> 26);
        Assert.Equal(57343u, l3.Ecx);
        Assert.Equal(0u, table.Get(0x8000_0008).Ecx);
    }

    [Fact]
    public void Amd_topology_is_shown_in_amds_leaves()
    {
        CpuidTable table = Make(SampleCpuid.Amd(), new CpuidOptions { Cpus = 6 }, vcpu: 5);
        Assert.Equal(5u | 3u << 12, table.Get(0x8000_0008).Ecx);
        Assert.Equal((5u, 5u, 0u, 0u), Registers(table.Get(0x8000_001e)));
        Assert.Equal(0u, table.Get(0x8000_001d, 0).Eax >> 14 & 0xfff);
        Assert.Equal(7u, table.Get(0x8000_001d, 1).Eax >> 14 & 0xfff);
        Assert.Equal(2u, table.Get(0x8000_0001).Ecx & 2);
        Assert.Equal(1u, table.Get(0x8000_0001).Ecx >> 22 & 1);
        Assert.False(table.Has(0x1f));

        Assert.Equal(0u, Make(SampleCpuid.Amd(), new CpuidOptions { Cpus = 1 }).Get(0x8000_0001).Ecx & 2);
    }

    [Fact]
    public void What_the_machine_lacks_is_not_shown()
    {
        CpuidTable table = Make(SampleCpuid.Intel(), new CpuidOptions { Cpus = 2 });
        foreach (uint leaf in new uint[] { 5, 9, 0xa })
        {
            Assert.Equal((0u, 0u, 0u, 0u), Registers(table.Get(leaf)));
        }

        Assert.Equal((4u, 0u, 0u, 0u), Registers(table.Get(6)));
        Assert.Equal(0u, table.Get(1).Ecx >> 15 & 1);       // PDCM
        Assert.Equal(0u, table.Get(1).Ecx >> 5 & 1);        // VMX
        Assert.Equal(0u, Make(SampleCpuid.Amd(), new CpuidOptions { Cpus = 2 }).Get(0x8000_0001).Ecx >> 23 & 1);
        CpuidTable old = Make(SampleCpuid.Intel(), new CpuidOptions { Cpus = 2, TscDeadlineTimer = false });
        Assert.Equal(0u, old.Get(1).Ecx >> 24 & 1);
    }

    [Fact]
    public void The_xsave_leaf_of_model_host_is_as_kvm_gave_it()
    {
        CpuidEntry[] supported = SampleCpuid.Intel();
        CpuidTable table = Make(supported, new CpuidOptions { Cpus = 1 });
        CpuidEntry[] expected = [.. supported.Where(entry => entry.Function == 0xd && entry.Index != 1)];
        CpuidEntry[] actual = [.. table.ToArray().Where(entry => entry.Function == 0xd && entry.Index != 1)];

        // CET needs shstk or ibt, which the sample lacks: its components go, and nothing else.
        Assert.Equal(
            expected.Select(entry => entry.Index).Where(index => index is not (11 or 12)),
            actual.Select(entry => entry.Index));
        Assert.Equal(supported.First(entry => entry.Function == 0xd).Eax, table.Get(0xd).Eax);
        Assert.Equal(11008u, table.Get(0xd).Ebx);
    }

    [Fact]
    public void Kvm_leaves_have_their_signature_and_the_clock()
    {
        CpuidTable table = Make(SampleCpuid.Intel(), new CpuidOptions { Cpus = 2, TscKhz = 2_100_000 });
        CpuidEntry signature = table.Get(0x4000_0000);
        Assert.Equal(0x4000_0010u, signature.Eax);
        byte[] text = [.. new[] { signature.Ebx, signature.Ecx, signature.Edx }.SelectMany(BitConverter.GetBytes)];
        Assert.Equal("KVMKVMKVM\0\0\0"u8.ToArray(), text);
        Assert.Equal((2_100_000u, 1_000_000u, 0u, 0u), Registers(table.Get(0x4000_0010)));
        Assert.Equal((10u, 21u, 1_000_000_000u, 0u), Registers(table.Get(0x15)));
        Assert.Equal((2100u, 2100u, 100u, 0u), Registers(table.Get(0x16)));
        Assert.Equal(0x0100_7efbu, table.Get(0x4000_0001).Eax);
    }

    [Fact]
    public void A_frequency_that_linux_would_overflow_on_is_left_out_of_leaf_15()
    {
        CpuidTable table = Make(SampleCpuid.Intel(), new CpuidOptions { Cpus = 2, TscKhz = 2_099_999 });
        Assert.Equal((0u, 0u, 0u, 0u), Registers(table.Get(0x15)));
        Assert.Equal(2100u, table.Get(0x16).Eax);
    }

    [Fact]
    public void Hypercalls_can_be_hidden_while_the_clock_stays()
    {
        uint eax = Make(SampleCpuid.Intel(), new CpuidOptions { Cpus = 2, HideHypercalls = true }).Get(0x4000_0001).Eax;
        foreach (int hypercall in new[] { 2, 7, 11, 13, 16 })
        {
            Assert.Equal(0u, eax >> hypercall & 1);
        }

        foreach (int kept in new[] { 0, 3, 24 })
        {
            Assert.Equal(1u, eax >> kept & 1);
        }
    }

    [Fact]
    public void Taking_avx_away_takes_its_dependents_and_their_state_away()
    {
        var template = new CpuidTemplate(
            SampleCpuid.Intel(), new CpuidOptions { Cpus = 1, Model = CpuModel.Parse("host,-avx") });
        foreach (string name in "avx avx2 fma f16c vaes vpclmulqdq avx512f avx512bw avx512_fp16 avx_vnni".Split(' '))
        {
            Assert.False(template.Features.Contains(name), name);
        }

        foreach (string name in "sse4_2 xsave pku amx_tile aes".Split(' '))
        {
            Assert.True(template.Features.Contains(name), name);
        }

        var table = new CpuidTable(template.ForVcpu(0));
        Assert.Equal(0x6_0203u, table.Get(0xd).Eax);
        Assert.Equal(11008u, table.Get(0xd).Ecx);
        Assert.False(table.TryFind(0xd, 2, out _));
        Assert.False(table.TryFind(0xd, 7, out _));
        Assert.True(table.TryFind(0xd, 9, out _));

        // Compacted: 576, 8 of PKRU, 64 of tile configuration and 8192 of tiles on 64-byte boundaries.
        Assert.Equal(640u + 64 + 8192, table.Get(0xd, 1).Ebx);
    }

    [Fact]
    public void Sizes_shrink_with_the_components()
    {
        CpuidTable table = Make(
            SampleCpuid.Intel(),
            new CpuidOptions { Cpus = 1, Model = CpuModel.Parse("host,-amx_tile,-pku,-avx512f") });
        Assert.Equal(7u, table.Get(0xd).Eax);
        Assert.Equal((832u, 832u), (table.Get(0xd).Ebx, table.Get(0xd).Ecx));
        Assert.Equal((0u, 0u, 0u, 0u), Registers(table.Get(0x1d)));
    }

    [Fact]
    public void Baseline_shows_no_vector_state_and_no_extension_above_level_2()
    {
        var template = new CpuidTemplate(
            SampleCpuid.Intel(), new CpuidOptions { Cpus = 1, Model = CpuModel.Baseline });
        var table = new CpuidTable(template.ForVcpu(0));
        Assert.Equal((0u, 0u, 0u, 0u), Registers(table.Get(0xd)));
        Assert.Equal((0u, 0u, 0u, 0u), Registers(table.Get(0xd, 1)));
        Assert.Empty(template.HiddenButPresent);
        foreach (string name in "avx xsave bmi1 movbe aes sha_ni abm rdrand gfni".Split(' '))
        {
            Assert.False(template.Features.Contains(name), name);
        }
    }

    [Fact]
    public void Features_that_programs_see_anyway_are_reported_and_keep_their_registers()
    {
        // As KVM's PVM module answers: it lists the components of XCR0, but none of the features that use them.
        CpuidEntry[] supported = SampleCpuid.Intel();
        var processor = new CpuFeatureSet(supported);
        var stripped = new CpuidTable(supported);
        Assert.True(stripped.TryFind(1, 0, out int one));
        Assert.True(stripped.TryFind(7, 0, out int seven));
        stripped.Entries[one].Ecx = 0x8120_2000;
        stripped.Entries[seven].Ebx &= 1 << 7 | 1 << 20;     // SMEP, SMAP
        stripped.Entries[seven].Ecx = 0;

        var host = new CpuidTemplate(
            stripped.ToArray(), new CpuidOptions { Cpus = 1, AlwaysVisible = processor });
        Assert.True(host.Features.Contains("avx2"));
        Assert.Empty(host.HiddenButPresent);

        var template = new CpuidTemplate(
            stripped.ToArray(),
            new CpuidOptions { Cpus = 1, Model = CpuModel.Baseline, AlwaysVisible = processor });
        var table = new CpuidTable(template.ForVcpu(0));
        for (uint component = 0; component < 10; component++)
        {
            Assert.Equal(Registers(stripped.Get(0xd, component)) with { Item1 = 0 },
                Registers(table.Get(0xd, component)) with { Item1 = 0 });
        }

        foreach (string name in "avx xsave bmi1 movbe aes sha_ni abm rdrand gfni".Split(' '))
        {
            Assert.False(template.Features.Contains(name), name);
            Assert.Contains(name, template.HiddenButPresent);
        }

        foreach (string name in "sse4_2 popcnt cx16 lahf_lm smep smap nx lm x2apic md_clear arch_capabilities".Split(' '))
        {
            Assert.True(template.Features.Contains(name), name);
            Assert.DoesNotContain(name, template.HiddenButPresent);
        }
    }

    [Fact]
    public void Features_whose_state_kvm_does_not_offer_are_not_shown()
    {
        CpuidEntry[] supported = SampleCpuid.Intel();
        for (int i = 0; i < supported.Length; i++)
        {
            if (supported[i] is { Function: 0xd, Index: 0 })
            {
                supported[i].Eax &= 0x2e7;                  // without permission for the tiles
            }
        }

        Assert.False(new CpuidTemplate(supported, new CpuidOptions { Cpus = 1 }).Features.Contains("amx_tile"));
        Assert.False(new CpuidTemplate(supported, new CpuidOptions { Cpus = 1 }).Features.Contains("amx_int8"));
        Assert.True(new CpuidTemplate(supported, new CpuidOptions { Cpus = 1 }).Features.Contains("avx512f"));
    }

    [Fact]
    public void On_amd_a_feature_with_two_bits_loses_both()
    {
        CpuidTable table = Make(SampleCpuid.Amd(), new CpuidOptions { Cpus = 1, Model = CpuModel.Parse("host,-mmx") });
        Assert.Equal(0u, table.Get(1).Edx >> 23 & 1);
        Assert.Equal(0u, table.Get(0x8000_0001).Edx >> 23 & 1);
        Assert.Equal(1u, table.Get(0x8000_0001).Edx >> 24 & 1);
    }

    [Fact]
    public void Nested_virtualisation_comes_only_when_asked_for()
    {
        Assert.False(new CpuidTemplate(SampleCpuid.Amd(), new CpuidOptions { Cpus = 1 }).Features.Contains("npt"));
        CpuidTable table = Make(SampleCpuid.Amd(), new CpuidOptions { Cpus = 1, Model = CpuModel.Parse("host,+svm,+npt") });
        Assert.Equal(1u, table.Get(0x8000_0001).Ecx >> 2 & 1);
        Assert.Equal(1u, table.Get(0x8000_000a).Eax);
    }

    /// <summary>Whatever processor or KVM comes along: a table is made, never larger than KVM takes, and it shows only
    /// what was offered.</summary>
    [Fact]
    public void Any_host_gives_a_table_or_a_refusal()
    {
        var random = new Random(33);
        foreach (CpuidEntry[] sample in new[] { SampleCpuid.Intel(), SampleCpuid.Amd() })
        {
            for (int round = 0; round < 2000; round++)
            {
                CpuidEntry[] host = [.. sample.Where(_ => random.Next(20) != 0)];
                for (int change = random.Next(8); change > 0; change--)
                {
                    ref CpuidEntry entry = ref host[random.Next(host.Length)];
                    entry.Set((CpuidRegister)random.Next(4), (uint)random.NextInt64(1L << 32));
                }

                string model = random.Next(4) switch { 0 => "baseline", 1 => "host,-avx", 2 => "host,-xsave", _ => "host" };
                int cpus = 1 + random.Next(300);
                try
                {
                    var template = new CpuidTemplate(host, new CpuidOptions { Cpus = cpus, Model = CpuModel.Parse(model) });
                    CpuidEntry[] table = template.ForVcpu(cpus - 1);
                    Assert.InRange(table.Length, 1, 256);       // KVM_MAX_CPUID_ENTRIES
                    Assert.Equal(table.Length, table.DistinctBy(entry => (entry.Function, entry.Index)).Count());
                    Assert.Empty(template.Features.Names
                        .Except(new CpuFeatureSet(host).Names).Except(["hypervisor", "x2apic", "tsc_deadline_timer"]));
                }
                catch (CpuModelException error)
                {
                    Assert.StartsWith("--cpu: ", error.Message, StringComparison.Ordinal);
                    Assert.Equal("baseline", model);
                }
            }
        }
    }

    private static (uint Eax, uint Ebx, uint Ecx, uint Edx) Registers(CpuidEntry entry) =>
        (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx);
}
