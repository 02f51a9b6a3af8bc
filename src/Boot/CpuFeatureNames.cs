namespace Vmm.Boot;

/// <summary>Where 32 feature bits are: one register of one CPUID leaf.</summary>
internal readonly record struct CpuFeatureWord(uint Leaf, uint Index, CpuidRegister Register);

/// <summary>The names of CPUID's feature bits, spelled as /proc/cpuinfo of Linux spells them.</summary>
/// <remarks>Sources: SDM volume 2A, CPUID; AMD APM volume 3, appendix E. A name may stand for bits in two words
/// (Intel's and AMD's bit for the same feature), and a bit may have several names (its first is the one shown). The table is
/// kept as text, as constant data of the binary, because it is used at every start; only <see cref="CpuFeatureIndex"/> is made
/// of it.</remarks>
internal static class CpuFeatureNames
{
    // From bit 0 up; "." is a bit without a name, "a/b" a bit with two.
    private static readonly (CpuFeatureWord Word, string Names)[] Table =
    [
        (new(1, 0, CpuidRegister.Edx),
            "fpu vme de pse tsc msr pae mce cx8 apic . sep mtrr pge mca cmov pat pse36 pn clflush . dts acpi mmx "
            + "fxsr sse sse2 ss ht tm ia64 pbe"),
        (new(1, 0, CpuidRegister.Ecx),
            "pni/sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm . pcid dca "
            + "sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor"),
        (new(7, 0, CpuidRegister.Ebx),
            "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx "
            + "rdt_a avx512f avx512dq rdseed adx smap avx512ifma . clflushopt clwb intel_pt avx512pf avx512er "
            + "avx512cd sha_ni avx512bw avx512vl"),
        (new(7, 0, CpuidRegister.Ecx),
            "prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni "
            + "avx512_bitalg tme avx512_vpopcntdq . la57 . . . . . rdpid keylocker bus_lock_detect cldemote . movdiri "
            + "movdir64b enqcmd sgx_lc pks"),
        (new(7, 0, CpuidRegister.Edx),
            ". sgx_keys avx512_4vnniw avx512_4fmaps fsrm uintr . . avx512_vp2intersect srbds_ctrl md_clear "
            + "rtm_always_abort . tsx_force_abort serialize hybrid_cpu tsxldtrk . pconfig arch_lbr ibt . amx_bf16 "
            + "avx512_fp16 amx_tile amx_int8 spec_ctrl/ibrs/ibpb stibp flush_l1d arch_capabilities "
            + "core_capabilities ssbd"),
        (new(7, 1, CpuidRegister.Eax),
            "sha512 sm3 sm4 rao_int avx_vnni avx512_bf16 lass cmpccxadd arch_perfmon_ext . fzrm fsrs fsrc . . . . fred "
            + "lkgs wrmsrns nmi_src amx_fp16 hreset avx_ifma . . lam msrlist"),
        (new(7, 1, CpuidRegister.Edx),
            ". . . . avx_vnni_int8 avx_ne_convert . . amx_complex . avx_vnni_int16 . . . prefetchiti . . . cet_sss "
            + "avx10 . apx_f"),
        (new(7, 2, CpuidRegister.Edx), "intel_psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no"),
        (new(0xd, 1, CpuidRegister.Eax), "xsaveopt xsavec xgetbv1 xsaves xfd"),
        (new(6, 0, CpuidRegister.Eax), "dtherm ida arat . pln . pts hwp"),
        (new(0x8000_0001, 0, CpuidRegister.Edx),
            ". . . . . . . . . . . syscall . . . . . . . mp nx . mmxext . . fxsr_opt pdpe1gb rdtscp . lm 3dnowext "
            + "3dnow"),
        (new(0x8000_0001, 0, CpuidRegister.Ecx),
            "lahf_lm cmp_legacy svm extapic cr8_legacy abm/lzcnt sse4a misalignsse 3dnowprefetch osvw ibs xop skinit "
            + "wdt . lwp fma4 tce . nodeid_msr . tbm topoext perfctr_core perfctr_nb . bpext ptsc perfctr_llc mwaitx"),
        (new(0x8000_0007, 0, CpuidRegister.Edx), ". . . . . . . hw_pstate nonstop_tsc/constant_tsc/invtsc cpb"),
        (new(0x8000_0007, 0, CpuidRegister.Ebx), "overflow_recov succor . smca"),
        (new(0x8000_0008, 0, CpuidRegister.Ebx),
            "clzero irperf xsaveerptr . rdpru . . . . wbnoinvd . . ibpb . ibrs stibp . stibp_always_on . . . . . "
            + "amd_ppin ssbd virt_ssbd amd_ssb_no cppc amd_psfd btc_no ibpb_ret brs"),
        (new(0x8000_000a, 0, CpuidRegister.Edx),
            "npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists . . pausefilter . pfthreshold "
            + "avic . v_vmsave_vmload vgif . x2avic . v_spec_ctrl"),
        (new(0x8000_0021, 0, CpuidRegister.Eax),
            "no_nested_data_bp . lfence_rdtsc . . verw_clear null_sel_clr_base . autoibrs . . . . . . . . . . . . . . "
            + ". . . . sbpb ibpb_brtype srso_no"),
    ];

    // Names that other tools use.
    private static readonly (string Alias, string Name)[] Aliases =
    [
        ("sha", "sha_ni"), ("pclmul", "pclmulqdq"), ("aesni", "aes"), ("cmpxchg16b", "cx16"), ("1gb_pages", "pdpe1gb"),
        ("avx512_vbmi", "avx512vbmi"), ("avx512_ifma", "avx512ifma"), ("tsc_deadline", "tsc_deadline_timer"),
    ];

    /// <summary>The words that have names.</summary>
    public static int Words => Table.Length;

    /// <summary>Every name that <see cref="TryFind"/> knows.</summary>
    public static IEnumerable<string> All => CpuFeatureIndex.Names;

    /// <summary>Where a word is.</summary>
    public static CpuFeatureWord WordAt(int word) => Table[word].Word;

    /// <summary>The names of a word's bits, as the table has them.</summary>
    public static string NamesOf(int word) => Table[word].Names;

    /// <summary>The name shown for a bit, null when it has none.</summary>
    public static string? NameOf(int word, int bit)
    {
        ReadOnlySpan<char> row = Table[word].Names;
        foreach (Range range in row.Split(' '))
        {
            if (bit-- == 0)
            {
                ReadOnlySpan<char> names = row[range];
                int end = names.IndexOf('/');
                return names is "." ? null : (end < 0 ? names : names[..end]).ToString();
            }
        }

        return null;
    }

    /// <summary>What a name stands for, as people write it.</summary>
    public static bool TryFind(string name, out CpuFeature feature) => CpuFeatureIndex.TryFind(Canonical(name), out feature);

    /// <summary>How a name that <see cref="TryFind"/> found is spelled here.</summary>
    public static string Canonical(string name)
    {
        string plain = name.Trim().ToLowerInvariant().Replace('.', '_').Replace('-', '_');
        foreach ((string alias, string real) in Aliases)
        {
            if (plain == alias)
            {
                return real;
            }
        }

        return plain;
    }

    /// <summary>As <see cref="TryFind"/> for names in this program's own text.</summary>
    public static CpuFeature Find(ReadOnlySpan<char> name) =>
        CpuFeatureIndex.TryFind(name, out CpuFeature feature) ? feature : throw new KeyNotFoundException(name.ToString());

    /// <summary>The known name closest to a wrong one; null if none is similar.</summary>
    public static string? Nearest(string wrong)
    {
        string name = Canonical(wrong);
        if (name.Length is 0 or > 32)
        {
            return null;
        }

        (string? best, int least) = (null, Math.Max(1, name.Length / 3) + 1);
        foreach (string known in All.Order(StringComparer.Ordinal))
        {
            int distance = EditDistance.Between(name, known);
            if (distance < least)
            {
                (best, least) = (known, distance);
            }
        }

        return best;
    }
}
