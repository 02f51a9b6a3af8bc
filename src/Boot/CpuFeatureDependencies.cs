namespace Vmm.Boot;

/// <summary>Which features are of no use, or forbidden, without others, and which components of the XSAVE area
/// belong to which feature (SDM volume 1, 13.1 and the detection rules in the instruction reference).</summary>
internal static class CpuFeatureDependencies
{
    // Each name on the left needs every name on the right.
    private static readonly (CpuFeature[] Dependents, CpuFeature[] Needs)[] Rules =
    [
        Rule("fxsr mmx", "fpu"),
        Rule("sse fxsr_opt", "fxsr"),
        Rule("mmxext 3dnow", "mmx"),
        Rule("3dnowext", "3dnow"),
        Rule("sse2", "sse"),
        Rule("pni pclmulqdq aes sha_ni gfni", "sse2"),
        Rule("ssse3 sse4a misalignsse", "pni"),
        Rule("sse4_1", "ssse3"),
        Rule("sse4_2", "sse4_1"),
        Rule("xsave", "fxsr"),
        Rule("xsaveopt xsavec xgetbv1 xsaves avx pku mpx xop lwp amx_tile apx_f", "xsave"),
        Rule("xsaves", "xsavec"),
        Rule("xfd", "xgetbv1"),
        Rule("shstk ibt uintr arch_lbr enqcmd", "xsaves"),
        Rule("cet_sss", "shstk"),
        Rule("avx", "sse4_2"),
        Rule("fma f16c avx2 fma4 xop vaes vpclmulqdq", "avx"),
        Rule("vaes", "aes"),
        Rule("vpclmulqdq", "pclmulqdq"),
        Rule("avx512f avx_vnni avx_ifma avx_vnni_int8 avx_vnni_int16 avx_ne_convert sha512 sm3 sm4", "avx2"),
        Rule("avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512_4vnniw avx512_4fmaps "
            + "avx512_vpopcntdq avx512_vnni avx512_vp2intersect avx10", "avx512f"),
        Rule("avx512vbmi avx512_vbmi2 avx512_bitalg avx512_bf16 avx512_fp16", "avx512bw"),
        Rule("avx512_fp16", "avx512vl avx512dq"),
        Rule("amx_bf16 amx_int8 amx_fp16 amx_complex", "amx_tile"),
        Rule("amx_tile", "xfd"),
        Rule("cx16", "cx8"),
        Rule("rdtscp tsc_deadline_timer tsc_adjust nonstop_tsc", "tsc"),
        Rule("x2apic tsc_deadline_timer arat", "apic"),
        Rule("lahf_lm pdpe1gb la57 pcid", "lm"),
        Rule("invpcid", "pcid"),
        Rule("mca", "mce"),
        Rule("overflow_recov succor smca", "mca"),
        Rule("sgx_lc sgx_keys", "sgx"),
        Rule("pks", "lm"),
        Rule("npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists pausefilter pfthreshold "
            + "avic v_vmsave_vmload vgif x2avic v_spec_ctrl", "svm"),
        Rule("tsxldtrk", "rtm"),
    ];

    // Components of XCR0 and IA32_XSS (SDM volume 1, 13.1); a component stays when any of its features does.
    private static readonly (int Component, CpuFeature[] Features)[] XsaveComponents =
    [
        (2, Bits("avx")), (3, Bits("mpx")), (4, Bits("mpx")), (5, Bits("avx512f")), (6, Bits("avx512f")),
        (7, Bits("avx512f")), (8, Bits("intel_pt")), (9, Bits("pku")), (10, Bits("enqcmd")), (11, Bits("shstk ibt")),
        (12, Bits("shstk ibt")), (14, Bits("uintr")), (15, Bits("arch_lbr")), (17, Bits("amx_tile")),
        (18, Bits("amx_tile")), (19, Bits("apx_f")),
    ];

    /// <summary>Components that no feature above goes with (x87 and SSE always, and those not named).</summary>
    private static ulong OtherComponents
    {
        get
        {
            ulong named = 0;
            foreach ((int component, _) in XsaveComponents)
            {
                named |= 1UL << component;
            }

            return ~named;
        }
    }

    /// <summary>The set without features whose requirements are missing.</summary>
    public static CpuFeatureSet DropUnsupported(CpuFeatureSet features)
    {
        CpuFeatureSet set = features.Copy();
        bool changed;
        do
        {
            changed = false;
            foreach ((CpuFeature[] dependents, CpuFeature[] needs) in Rules)
            {
                if (set.HasAll(needs))
                {
                    continue;
                }

                foreach (CpuFeature dependent in dependents)
                {
                    changed |= set.Has(dependent);
                    set.Clear(dependent);
                }
            }
        }
        while (changed);

        return set;
    }

    /// <summary>The set and everything that its members need.</summary>
    public static CpuFeatureSet WithNeeds(CpuFeatureSet features)
    {
        CpuFeatureSet set = features.Copy();
        bool changed;
        do
        {
            changed = false;
            foreach ((CpuFeature[] dependents, CpuFeature[] needs) in Rules)
            {
                if (set.HasAny(dependents) && !set.HasAll(needs))
                {
                    changed = true;
                    foreach (CpuFeature need in needs)
                    {
                        set.Set(need);
                    }
                }
            }
        }
        while (changed);

        return set;
    }

    /// <summary>The XSAVE components that a set of features may use, as a mask over XCR0 and IA32_XSS
    /// together.</summary>
    public static ulong ComponentsOf(CpuFeatureSet set)
    {
        if (!set.Contains("xsave"))
        {
            return 0;
        }

        ulong mask = OtherComponents;
        foreach ((int component, CpuFeature[] features) in XsaveComponents)
        {
            mask |= set.HasAny(features) ? 1UL << component : 0;
        }

        return mask;
    }

    /// <summary>The set without the features that cannot be used because XSAVE has no place for their state.</summary>
    public static CpuFeatureSet DropWithoutComponents(CpuFeatureSet features, ulong available)
    {
        CpuFeatureSet set = features.Copy();
        foreach ((int component, CpuFeature[] needing) in XsaveComponents)
        {
            // Processor trace and last-branch records work without XSAVE's help.
            if ((available >> component & 1) == 0 && component is not (8 or 15))
            {
                foreach (CpuFeature feature in needing)
                {
                    set.Clear(feature);
                }
            }
        }

        return DropUnsupported(set);
    }

    private static (CpuFeature[] Dependents, CpuFeature[] Needs) Rule(string dependents, string needs) =>
        (Bits(dependents), Bits(needs));

    private static CpuFeature[] Bits(ReadOnlySpan<char> names)
    {
        var features = new CpuFeature[names.Count(' ') + 1];
        int count = 0;
        foreach (Range name in names.Split(' '))
        {
            features[count++] = CpuFeatureNames.Find(names[name]);
        }

        return features;
    }
}
