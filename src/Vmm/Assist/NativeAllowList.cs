using System.Runtime.Intrinsics.X86;
using Iced.Intel;

namespace Vmm.Assist;

/// <summary>Which instructions may run natively in vmm: those that compute from registers and one memory operand,
/// and whose possible faults are all checked before. Everything not named here may not.</summary>
internal static class NativeAllowList
{
    /// <summary>EBX of CPUID leaf 0: "Auth".</summary>
    private static readonly bool IsAmd = X86Base.CpuId(0, 0).Ebx == 0x6874_7541;

    public static FeatureAnswer Ask(in Instruction instruction)
    {
        if (instruction.FlowControl != FlowControl.Next || instruction.IsPrivileged || instruction.IsStackInstruction
            || instruction.IsStringInstruction || instruction.IsSaveRestoreInstruction || instruction.IsVsib
            || instruction.HasRepPrefix || instruction.HasRepnePrefix)
        {
            return FeatureAnswer.NotAllowed;
        }

        // These can fault on what they load; they have code of their own.
        if (instruction.Mnemonic is Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr or Mnemonic.Stmxcsr or Mnemonic.Vstmxcsr)
        {
            return FeatureAnswer.NotAllowed;
        }

        int memories = 0;
        bool hasOther = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Register:
                    Register register = instruction.GetOpRegister(i);
                    hasOther |= !(register.IsGPR() || register.IsVectorRegister() || register.IsK()
                        || register.IsMM() || register.IsST());
                    break;
                case OpKind.Memory:
                    memories++;
                    break;
                case >= OpKind.Immediate8 and <= OpKind.Immediate32to64:
                    break;
                default:
                    hasOther = true;                  // branch targets, implicit string and segment operands
                    break;
            }
        }

        if (hasOther || memories > 1 || instruction.MemorySize.GetSize() > NativeState.ScratchLength
            || (memories == 1 && instruction.MemorySize.GetSize() == 0))
        {
            return FeatureAnswer.NotAllowed;
        }

        CpuidFeature[] features = instruction.CpuidFeatures;
        bool isBasic = Array.TrueForAll(features, feature => feature is >= CpuidFeature.INTEL8086
            and <= CpuidFeature.INTEL486_A_ONLY or CpuidFeature.X64);
        if (isBasic && !IsPlainInteger(instruction.Mnemonic))
        {
            return FeatureAnswer.NotAllowed;
        }

        return HostFeatures.Ask(features);
    }

    /// <summary>What the instruction needs enabled.</summary>
    public static NativeUnits Units(in Instruction instruction)
    {
        var units = NativeUnits.None;
        bool usesVector = false;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register)
            {
                Register register = instruction.GetOpRegister(i);
                usesVector |= register.IsVectorRegister();
                units |= register.IsK() ? NativeUnits.Evex : register.IsMM() ? NativeUnits.Mmx : NativeUnits.None;
            }
        }

        bool isVectorSet = false;
        foreach (CpuidFeature feature in instruction.CpuidFeatures)
        {
            switch (feature)
            {
                case CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387:
                    units |= NativeUnits.X87;
                    break;
                case CpuidFeature.MMX when !usesVector:
                    units |= NativeUnits.Mmx;
                    break;
                case CpuidFeature.SSE or CpuidFeature.SSE2 or CpuidFeature.SSE3 or CpuidFeature.AVX:
                    isVectorSet = true;
                    break;
            }
        }

        // CVTSS2SI with a memory operand names no vector register, but rounds as MXCSR says and sets its flags.
        bool isOnMmx = (units & NativeUnits.Mmx) != 0 && instruction.Mnemonic is not Mnemonic.Cvtps2pi
            and not Mnemonic.Cvttps2pi and not Mnemonic.Cvtpd2pi and not Mnemonic.Cvttpd2pi;
        usesVector |= isVectorSet && !isOnMmx && instruction.Mnemonic != Mnemonic.Movnti;
        units |= instruction.Encoding switch
        {
            EncodingKind.EVEX => NativeUnits.Evex,
            EncodingKind.VEX when usesVector => NativeUnits.Vex,
            EncodingKind.Legacy when usesVector => NativeUnits.Sse,
            _ => NativeUnits.None,
        };
        return units;
    }

    /// <summary>Alignment without which the processor raises #GP (Intel SDM volume 1, 14.9; volume 2, 2.4).</summary>
    public static int Alignment(in Instruction instruction, NativeUnits units)
    {
        int size = instruction.MemorySize.GetSize();
        if (IsAlignedMove(instruction.Mnemonic))
        {
            return size;
        }

        bool isLegacyVector = instruction.Encoding == EncodingKind.Legacy && (units & NativeUnits.Sse) != 0;
        return isLegacyVector && size == 16 && !MayBeUnaligned(instruction.Mnemonic) ? 16 : 1;
    }

    public static bool IsAlignedMove(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Movaps or Mnemonic.Movapd or Mnemonic.Movdqa
        or Mnemonic.Movntps or Mnemonic.Movntpd or Mnemonic.Movntdq or Mnemonic.Movntdqa
        or Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa or Mnemonic.Vmovdqa32 or Mnemonic.Vmovdqa64
        or Mnemonic.Vmovntps or Mnemonic.Vmovntpd or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa;

    /// <summary>The instructions that, masked or not, read all of their memory operand.</summary>
    public static bool MixesElements(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Vpermb or Mnemonic.Vpermw or Mnemonic.Vpermd or Mnemonic.Vpermq or Mnemonic.Vpermps
        or Mnemonic.Vpermpd or Mnemonic.Vpermilps or Mnemonic.Vpermilpd
        or Mnemonic.Vpermi2b or Mnemonic.Vpermi2w or Mnemonic.Vpermi2d or Mnemonic.Vpermi2q
        or Mnemonic.Vpermi2ps or Mnemonic.Vpermi2pd
        or Mnemonic.Vpermt2b or Mnemonic.Vpermt2w or Mnemonic.Vpermt2d or Mnemonic.Vpermt2q
        or Mnemonic.Vpermt2ps or Mnemonic.Vpermt2pd
        or Mnemonic.Vunpckhps or Mnemonic.Vunpckhpd or Mnemonic.Vunpcklps or Mnemonic.Vunpcklpd
        or Mnemonic.Vpunpckhbw or Mnemonic.Vpunpckhwd or Mnemonic.Vpunpckhdq or Mnemonic.Vpunpckhqdq
        or Mnemonic.Vpunpcklbw or Mnemonic.Vpunpcklwd or Mnemonic.Vpunpckldq or Mnemonic.Vpunpcklqdq
        or Mnemonic.Vshufps or Mnemonic.Vshufpd or Mnemonic.Vshuff32x4 or Mnemonic.Vshuff64x2
        or Mnemonic.Vshufi32x4 or Mnemonic.Vshufi64x2 or Mnemonic.Vpshufb or Mnemonic.Vpshufd
        or Mnemonic.Vpshufhw or Mnemonic.Vpshuflw or Mnemonic.Vpshufbitqmb
        or Mnemonic.Vpackssdw or Mnemonic.Vpacksswb or Mnemonic.Vpackusdw or Mnemonic.Vpackuswb
        or Mnemonic.Vpalignr or Mnemonic.Valignd or Mnemonic.Valignq
        or Mnemonic.Vpmaddubsw or Mnemonic.Vpmaddwd or Mnemonic.Vdbpsadbw or Mnemonic.Vpsadbw
        or Mnemonic.Vpmultishiftqb or Mnemonic.Vpconflictd or Mnemonic.Vpconflictq
        or Mnemonic.Vmovshdup or Mnemonic.Vmovsldup or Mnemonic.Vmovddup
        or Mnemonic.Vpsllw or Mnemonic.Vpslld or Mnemonic.Vpsllq or Mnemonic.Vpsrlw or Mnemonic.Vpsrld
        or Mnemonic.Vpsrlq or Mnemonic.Vpsraw or Mnemonic.Vpsrad or Mnemonic.Vpsraq
        or Mnemonic.Vinsertf32x4 or Mnemonic.Vinsertf32x8 or Mnemonic.Vinsertf64x2 or Mnemonic.Vinsertf64x4
        or Mnemonic.Vinserti32x4 or Mnemonic.Vinserti32x8 or Mnemonic.Vinserti64x2 or Mnemonic.Vinserti64x4;

    private static bool MayBeUnaligned(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu
        or Mnemonic.Pcmpestri or Mnemonic.Pcmpestrm or Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm
        or Mnemonic.Pcmpestri64 or Mnemonic.Pcmpestrm64
        || (IsAmd && IsSha(mnemonic));

    /// <summary>Intel's manual wants these aligned; AMD's processors do not require it.</summary>
    private static bool IsSha(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Sha1nexte or Mnemonic.Sha1msg1 or Mnemonic.Sha1msg2 or Mnemonic.Sha1rnds4
        or Mnemonic.Sha256rnds2 or Mnemonic.Sha256msg1 or Mnemonic.Sha256msg2;

    /// <summary>Arithmetic of the basic instruction set that cannot fault. Not DIV and IDIV, and not the bit tests,
    /// whose register offset reaches beyond the operand.</summary>
    private static bool IsPlainInteger(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Add or Mnemonic.Adc or Mnemonic.Sub or Mnemonic.Sbb or Mnemonic.Cmp or Mnemonic.Neg
        or Mnemonic.Inc or Mnemonic.Dec or Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Not
        or Mnemonic.Test or Mnemonic.Mul or Mnemonic.Imul or Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr
        or Mnemonic.Sar or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr or Mnemonic.Shld
        or Mnemonic.Shrd or Mnemonic.Bsf or Mnemonic.Bsr or Mnemonic.Bswap or Mnemonic.Mov or Mnemonic.Movzx
        or Mnemonic.Movsx or Mnemonic.Movsxd or Mnemonic.Xchg or Mnemonic.Xadd or Mnemonic.Cmpxchg
        or Mnemonic.Cbw or Mnemonic.Cwde or Mnemonic.Cdqe or Mnemonic.Cwd or Mnemonic.Cdq or Mnemonic.Cqo
        or Mnemonic.Lahf or Mnemonic.Sahf or Mnemonic.Clc or Mnemonic.Stc or Mnemonic.Cmc
        or Mnemonic.Seta or Mnemonic.Setae or Mnemonic.Setb or Mnemonic.Setbe or Mnemonic.Sete or Mnemonic.Setg
        or Mnemonic.Setge or Mnemonic.Setl or Mnemonic.Setle or Mnemonic.Setne or Mnemonic.Setno
        or Mnemonic.Setnp or Mnemonic.Setns or Mnemonic.Seto or Mnemonic.Setp or Mnemonic.Sets;
}
