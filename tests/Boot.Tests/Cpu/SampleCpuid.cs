using System.Text;

namespace Vmm.Boot.Tests.Cpu;

/// <summary>CPUID as KVM_GET_SUPPORTED_CPUID gives it on two kinds of processor, reduced to what the code reads.</summary>
internal static class SampleCpuid
{
    public static CpuidEntry[] Intel(params string[] without)
    {
        CpuFeatureSet features = CpuFeatureSet.Of(
            [.. ("fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss ht "
                + "pni pclmulqdq vmx ssse3 fma cx16 pdcm pcid sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand "
                + "hypervisor fsgsbase tsc_adjust bmi1 avx2 smep bmi2 erms invpcid avx512f avx512dq rdseed adx smap "
                + "avx512cd sha_ni avx512bw avx512vl avx512vbmi umip pku avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni "
                + "avx512_bitalg avx512_vpopcntdq rdpid fsrm md_clear serialize amx_bf16 avx512_fp16 amx_tile amx_int8 "
                + "spec_ctrl stibp arch_capabilities ssbd avx_vnni avx512_bf16 xsaveopt xsavec xgetbv1 xsaves xfd arat "
                + "syscall nx pdpe1gb rdtscp lm lahf_lm abm 3dnowprefetch nonstop_tsc")
                .Split(' ').Except(without)]);
        var table = new CpuidTable([]);
        Vendor(table, "GenuineIntel", 0x1f);
        table.Add(1, 0, 0x000806f8, 0x0b40_0800, 0, 0);
        table.Add(4, 0, 0xfc00_4121, 0x02c0_003f, 63, 0, indexed: true);
        table.Add(4, 1, 0xfc00_4122, 0x01c0_003f, 63, 0, indexed: true);
        table.Add(4, 2, 0xfc01_c143, 0x03c0_003f, 1023, 0, indexed: true);
        table.Add(4, 3, 0xfc1f_c163, 0x02c0_003f, 57343, 4, indexed: true);
        table.Add(4, 4, 0, 0, 0, 0, indexed: true);
        table.Add(5, 0, 0x40, 0x40, 3, 0x20);
        table.Add(6, 0, 0, 2, 9, 0);
        table.Add(7, 0, 2, 0, 0, 0, indexed: true);
        table.Add(7, 1, 0, 0, 0, 0, indexed: true);
        table.Add(7, 2, 0, 0, 0, 0, indexed: true);
        table.Add(9, 0, 1, 0, 0, 0);
        table.Add(0xa, 0, 0x0730_0802, 0, 0, 0x603);
        table.Add(0xb, 0, 0, 0, 0, 7, indexed: true);
        table.Add(0x1f, 0, 0, 0, 0, 7, indexed: true);
        Xsave(table, 0x6_02e7, 0x1800);
        table.Add(0x15, 0, 2, 168, 25_000_000, 0);
        table.Add(0x16, 0, 2100, 3800, 100, 0);
        table.Add(0x1d, 0, 1, 0, 0, 0, indexed: true);
        table.Add(0x1e, 0, 0, 0x4010, 0, 0);
        table.Add(0x8000_0000, 0, 0x8000_0008, 0, 0, 0);
        table.Add(0x8000_0001, 0, 0, 0, 0, 0);
        table.Add(0x8000_0002, 0, 0x65746e49, 0x2952286c, 0x6f655820, 0x2952286e);
        table.Add(0x8000_0007, 0, 0, 0, 0, 0);
        table.Add(0x8000_0008, 0, 0x392e, 0, 0, 0);
        return Finish(table, features);
    }

    public static CpuidEntry[] Amd()
    {
        CpuFeatureSet features = CpuFeatureSet.Of(
            [.. ("fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht "
                + "pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand hypervisor "
                + "fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha_ni umip pku xsaveopt xsavec xgetbv1 arat "
                + "syscall nx mmxext fxsr_opt pdpe1gb rdtscp lm lahf_lm cmp_legacy svm npt nrip_save cr8_legacy abm sse4a "
                + "misalignsse 3dnowprefetch osvw topoext perfctr_core nonstop_tsc clzero xsaveerptr ibpb ssbd")
                .Split(' ')]);
        var table = new CpuidTable([]);
        Vendor(table, "AuthenticAMD", 0x10);
        table.Add(1, 0, 0x00a2_0f10, 0x0308_0800, 0, 0);
        table.Add(6, 0, 0, 0, 0, 0);
        table.Add(7, 0, 0, 0, 0, 0, indexed: true);
        table.Add(0xb, 0, 0, 0, 0, 3, indexed: true);
        Xsave(table, 0x207, 0);
        table.Add(0x8000_0000, 0, 0x8000_0021, 0, 0, 0);
        table.Add(0x8000_0001, 0, 0, 0, 0, 0x0183_f3ff);
        table.Add(0x8000_0007, 0, 0, 0, 0, 0);
        table.Add(0x8000_0008, 0, 0x3030, 0, 0x700f, 0);
        table.Add(0x8000_000a, 0, 1, 8, 0, 0);
        table.Add(0x8000_001d, 0, 0x0000_4121, 0x01c0_003f, 63, 0, indexed: true);
        table.Add(0x8000_001d, 1, 0x0003_c163, 0x03c0_003f, 32767, 1, indexed: true);
        table.Add(0x8000_001d, 2, 0, 0, 0, 0, indexed: true);
        table.Add(0x8000_001e, 0, 0, 0, 0, 0);
        return Finish(table, features);
    }

    private static void Vendor(CpuidTable table, string vendor, uint highest)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(vendor);
        table.Add(
            0, 0, highest, BitConverter.ToUInt32(bytes, 0), BitConverter.ToUInt32(bytes, 8), BitConverter.ToUInt32(bytes, 4));
    }

    private static void Xsave(CpuidTable table, ulong user, uint supervisor)
    {
        // Offsets and sizes of Intel's processors.
        (uint Component, uint Size, uint Offset, uint Flags)[] components =
        [
            (2, 256, 576, 0), (5, 64, 1088, 0), (6, 512, 1152, 0), (7, 1024, 1664, 0), (9, 8, 2688, 0),
            (11, 16, 0, 1), (12, 24, 0, 1), (17, 64, 2752, 2), (18, 8192, 2816, 6),
        ];
        table.Add(0xd, 0, (uint)user, 11008, 11008, 0, indexed: true);
        table.Add(0xd, 1, 0, 9999, supervisor, 0, indexed: true);
        foreach ((uint component, uint size, uint offset, uint flags) in components)
        {
            if (((user | supervisor) >> (int)component & 1) != 0)
            {
                table.Add(0xd, component, size, offset, flags, 0, indexed: true);
            }
        }
    }

    private static CpuidEntry[] Finish(CpuidTable table, CpuFeatureSet features)
    {
        for (int word = 0; word < CpuFeatureNames.Words; word++)
        {
            CpuFeatureWord where = CpuFeatureNames.WordAt(word);
            foreach (ref CpuidEntry entry in table.Entries)
            {
                if (entry.Function == where.Leaf && entry.Index == where.Index)
                {
                    entry.Set(where.Register, entry[where.Register] | features[word]);
                }
            }
        }

        table.Add(0x4000_0000, 0, 0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d);
        table.Add(0x4000_0001, 0, 0x0100_7efb, 0, 0, 0);
        return table.ToArray();
    }
}
