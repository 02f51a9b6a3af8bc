using Iced.Intel;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Assist;

/// <summary>Which instruction sets may run natively, and whether this processor has them (Intel SDM volume 2,
/// "CPUID"; AMD APM volume 3, appendix E).</summary>
internal static class HostFeatures
{
    private static readonly Dictionary<CpuidFeature, bool> Known = Build();

    /// <summary>What is to be done with an instruction of these features.</summary>
    public static FeatureAnswer Ask(ReadOnlySpan<CpuidFeature> features)
    {
        FeatureAnswer answer = FeatureAnswer.Present;
        foreach (CpuidFeature feature in features)
        {
            if (!Known.TryGetValue(feature, out bool isPresent))
            {
                return FeatureAnswer.NotAllowed;
            }

            answer = isPresent ? answer : FeatureAnswer.Absent;
        }

        return answer;
    }

    private static Dictionary<CpuidFeature, bool> Build()
    {
        CpuidEntry one = Processor.Cpuid(1), seven = Processor.Cpuid(7), sevenOne = Processor.Cpuid(7, 1);
        CpuidEntry amd = Processor.Cpuid(0x8000_0001);
        bool hasXsave = Bit(one.Ecx, 27);

        // Vector features count only if the operating system lets this process use the registers.
        ulong xcr0 = hasXsave ? XsaveLayout.Host.UserMask : 0;
        bool avx = Bit(one.Ecx, 28) && (xcr0 & 0b110) == 0b110;
        bool avx512 = avx && (xcr0 & 0b1110_0000) == 0b1110_0000;
        return new Dictionary<CpuidFeature, bool>
        {
            [CpuidFeature.INTEL8086] = true,
            [CpuidFeature.INTEL186] = true,
            [CpuidFeature.INTEL286] = true,
            [CpuidFeature.INTEL386] = true,
            [CpuidFeature.INTEL486] = true,
            [CpuidFeature.X64] = true,
            [CpuidFeature.CMOV] = Bit(one.Edx, 15),
            [CpuidFeature.FPU] = Bit(one.Edx, 0),
            [CpuidFeature.FPU287] = Bit(one.Edx, 0),
            [CpuidFeature.FPU387] = Bit(one.Edx, 0),
            [CpuidFeature.MMX] = Bit(one.Edx, 23),
            [CpuidFeature.SSE] = Bit(one.Edx, 25),
            [CpuidFeature.SSE2] = Bit(one.Edx, 26),
            [CpuidFeature.SSE3] = Bit(one.Ecx, 0),
            [CpuidFeature.PCLMULQDQ] = Bit(one.Ecx, 1),
            [CpuidFeature.SSSE3] = Bit(one.Ecx, 9),
            [CpuidFeature.FMA] = Bit(one.Ecx, 12) && avx,
            [CpuidFeature.SSE4_1] = Bit(one.Ecx, 19),
            [CpuidFeature.SSE4_2] = Bit(one.Ecx, 20),
            [CpuidFeature.MOVBE] = Bit(one.Ecx, 22),
            [CpuidFeature.POPCNT] = Bit(one.Ecx, 23),
            [CpuidFeature.AES] = Bit(one.Ecx, 25),
            [CpuidFeature.AVX] = avx,
            [CpuidFeature.F16C] = Bit(one.Ecx, 29) && avx,
            [CpuidFeature.RDRAND] = Bit(one.Ecx, 30),
            [CpuidFeature.BMI1] = Bit(seven.Ebx, 3),
            [CpuidFeature.AVX2] = Bit(seven.Ebx, 5) && avx,
            [CpuidFeature.BMI2] = Bit(seven.Ebx, 8),
            [CpuidFeature.RDSEED] = Bit(seven.Ebx, 18),
            [CpuidFeature.ADX] = Bit(seven.Ebx, 19),
            [CpuidFeature.SHA] = Bit(seven.Ebx, 29),
            [CpuidFeature.AVX512F] = Bit(seven.Ebx, 16) && avx512,
            [CpuidFeature.AVX512DQ] = Bit(seven.Ebx, 17) && avx512,
            [CpuidFeature.AVX512_IFMA] = Bit(seven.Ebx, 21) && avx512,
            [CpuidFeature.AVX512CD] = Bit(seven.Ebx, 28) && avx512,
            [CpuidFeature.AVX512BW] = Bit(seven.Ebx, 30) && avx512,
            [CpuidFeature.AVX512VL] = Bit(seven.Ebx, 31) && avx512,
            [CpuidFeature.AVX512_VBMI] = Bit(seven.Ecx, 1) && avx512,
            [CpuidFeature.AVX512_VBMI2] = Bit(seven.Ecx, 6) && avx512,
            [CpuidFeature.GFNI] = Bit(seven.Ecx, 8),
            [CpuidFeature.VAES] = Bit(seven.Ecx, 9) && avx,
            [CpuidFeature.VPCLMULQDQ] = Bit(seven.Ecx, 10) && avx,
            [CpuidFeature.AVX512_VNNI] = Bit(seven.Ecx, 11) && avx512,
            [CpuidFeature.AVX512_BITALG] = Bit(seven.Ecx, 12) && avx512,
            [CpuidFeature.AVX512_VPOPCNTDQ] = Bit(seven.Ecx, 14) && avx512,
            [CpuidFeature.MOVDIRI] = Bit(seven.Ecx, 27),
            [CpuidFeature.AVX512_VP2INTERSECT] = Bit(seven.Edx, 8) && avx512,
            [CpuidFeature.AVX512_FP16] = Bit(seven.Edx, 23) && avx512,
            [CpuidFeature.SHA512] = Bit(sevenOne.Eax, 0) && avx,
            [CpuidFeature.SM3] = Bit(sevenOne.Eax, 1) && avx,
            [CpuidFeature.SM4] = Bit(sevenOne.Eax, 2) && avx,
            [CpuidFeature.AVX_VNNI] = Bit(sevenOne.Eax, 4) && avx,
            [CpuidFeature.AVX512_BF16] = Bit(sevenOne.Eax, 5) && avx512,
            [CpuidFeature.AVX_IFMA] = Bit(sevenOne.Eax, 23) && avx,
            [CpuidFeature.AVX_VNNI_INT8] = Bit(sevenOne.Edx, 4) && avx,
            [CpuidFeature.AVX_NE_CONVERT] = Bit(sevenOne.Edx, 5) && avx,
            [CpuidFeature.AVX_VNNI_INT16] = Bit(sevenOne.Edx, 10) && avx,
            [CpuidFeature.LZCNT] = Bit(amd.Ecx, 5),
            [CpuidFeature.SSE4A] = Bit(amd.Ecx, 6),
        };
    }

    private static bool Bit(uint word, int bit) => (word >> bit & 1) != 0;
}

/// <summary>May an instruction run natively?</summary>
internal enum FeatureAnswer
{
    Present,

    /// <summary>This processor lacks it: to the guest, #UD.</summary>
    Absent,

    /// <summary>Not among the instruction sets that are run natively.</summary>
    NotAllowed,
}
