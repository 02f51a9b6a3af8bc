namespace Vmm.Boot;

/// <summary>The guest's processor: the value of <c>--cpu</c>.</summary>
/// <remarks>
/// <para><c>host</c>: everything that KVM supports, except nested virtualisation (vmx, svm), which must be asked for,
/// and what vmm does not provide (performance counters, SGX, processor trace).</para>
/// <para><c>baseline</c>: programs see x86-64-v2 and nothing above; what only kernels use (paging, timers, protection,
/// mitigations of processor faults) stays as the host has it, since hiding it would make the guest less safe.</para>
/// <para>Features are added or taken away by name: <c>host,-avx512f</c>, <c>baseline,+avx2</c>. Features that need a removed
/// one are removed too; features that an added one needs are added too.</para>
/// </remarks>
public sealed class CpuModel
{
    // The x86-64 psABI's level 2, with level 1 under it.
    private static readonly string[] Level2 =
    [
        "fpu", "cx8", "cmov", "mmx", "fxsr", "sse", "sse2", "syscall", "lm",
        "cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2",
    ];

    // Where the host has them. The few that programs can execute too (tsc, rdtscp, sep, clflush) are older than level 2
    // and only tell the time or enter the kernel.
    private static readonly string[] ForKernels =
    [
        "tsc", "rdtscp", "sep", "clflush",
        "vme", "de", "pse", "msr", "pae", "mce", "apic", "mtrr", "pge", "mca", "pat", "pse36", "ss", "ht", "pcid",
        "invpcid", "x2apic", "tsc_deadline_timer", "hypervisor", "tsc_adjust", "smep", "smap", "umip", "nx", "pdpe1gb",
        "arat", "nonstop_tsc", "md_clear", "spec_ctrl", "ibrs", "ibpb", "stibp", "stibp_always_on", "ssbd", "virt_ssbd",
        "amd_ssb_no", "btc_no", "ibpb_ret", "flush_l1d", "arch_capabilities", "core_capabilities", "srbds_ctrl",
        "rtm_always_abort", "intel_psfd", "ipred_ctrl", "rrsba_ctrl", "ddpd_u", "bhi_ctrl", "mcdt_no",
        "no_nested_data_bp", "lfence_rdtsc", "null_sel_clr_base", "autoibrs", "verw_clear", "sbpb", "ibpb_brtype",
        "srso_no", "cr8_legacy", "topoext", "amd_psfd", "fdp_excptn_only", "zero_fcs_fds", "svm_lock",
    ];

    // No 64-bit kernel starts without these.
    private static readonly string[] Required =
        ["fpu", "tsc", "msr", "pae", "cx8", "apic", "cmov", "fxsr", "sse", "sse2", "syscall", "lm"];

    private static readonly string[] Nested = ["vmx", "svm"];

    // No counters, tracers, enclaves, power management or debug stores; OSXSAVE and OSPKE mirror CR4, and KVM sets them.
    private static readonly string[] NeverGiven =
    [
        "dts", "dtes64", "ds_cpl", "pdcm", "arch_lbr", "arch_perfmon_ext", "intel_pt", "sgx", "sgx_lc", "sgx_keys",
        "perfctr_core", "perfctr_nb", "perfctr_llc", "ibs", "lwp", "brs", "osxsave", "ospke", "acpi", "tm", "tm2",
        "est", "smx", "cqm", "rdt_a", "dca", "pn", "monitor", "mwaitx", "dtherm", "ida", "pln", "pts", "hwp",
        "hw_pstate", "cpb", "pconfig", "tme", "keylocker", "hybrid_cpu", "extapic", "skinit", "wdt", "nodeid_msr",
        "cppc", "amd_ppin", "hreset",
    ];

    private readonly bool _baseline;

    private CpuModel(bool baseline, IReadOnlyList<string> added, IReadOnlyList<string> removed)
    {
        _baseline = baseline;
        Added = added;
        Removed = removed;
    }

    /// <summary>Everything that KVM supports: the default.</summary>
    public static CpuModel Host { get; } = new(baseline: false, [], []);

    /// <summary>x86-64-v2.</summary>
    public static CpuModel Baseline { get; } = new(baseline: true, [], []);

    /// <summary>"host" or "baseline".</summary>
    public string Name => _baseline ? "baseline" : "host";

    /// <summary>Features asked for by name.</summary>
    public IReadOnlyList<string> Added { get; }

    /// <summary>Features taken away by name.</summary>
    public IReadOnlyList<string> Removed { get; }

    /// <summary>Nothing is hidden or added.</summary>
    internal bool IsWholeHost => !_baseline && Added.Count == 0 && Removed.Count == 0;

    /// <summary>Reads "host" or "baseline", then any number of ",+feature" and ",-feature".</summary>
    /// <exception cref="CpuModelException">The text has another form, or names an unknown feature.</exception>
    public static CpuModel Parse(string text)
    {
        string[] parts = text.Split(',', StringSplitOptions.TrimEntries);
        bool baseline = parts[0].ToLowerInvariant() switch
        {
            "host" => false,
            "baseline" => true,
            "" => throw new CpuModelException(
                "--cpu needs a model: host or baseline, then features as in host,-avx512f"),
            _ => throw new CpuModelException($"--cpu {Show(parts[0])}: no such model; there are host and baseline"),
        };

        var added = new List<string>();
        var removed = new List<string>();
        var unknown = new List<string>();
        foreach (string part in parts.AsSpan(1))
        {
            if (part.Length < 2 || part[0] is not ('+' or '-'))
            {
                throw new CpuModelException(part.Length == 0 || part is "+" or "-"
                    ? "--cpu: a feature name is missing; write for example host,-avx512f"
                    : $"--cpu: write +{Show(part)} to add that feature or -{Show(part)} to take it away");
            }

            string name = part[1..].Trim();
            if (!CpuFeatureNames.TryFind(name, out CpuFeature feature))
            {
                string hint = CpuFeatureNames.Nearest(name) is { } near ? $" (did you mean {near}?)" : "";
                unknown.Add(Show(name) + hint);
                continue;
            }

            (List<string> mine, List<string> others) = part[0] == '+' ? (added, removed) : (removed, added);
            string known = CpuFeatureNames.Canonical(name);
            if (others.Exists(other => CpuFeatureNames.Find(other) == feature))
            {
                throw new CpuModelException($"--cpu: {known} is both added and taken away");
            }

            if (!mine.Contains(known))
            {
                mine.Add(known);
            }
        }

        return unknown.Count == 0
            ? new CpuModel(baseline, added, removed)
            : throw new CpuModelException(
                $"--cpu: unknown feature {string.Join(", ", unknown)}; names are those of /proc/cpuinfo");
    }

    /// <summary>The features that the guest gets on this host.</summary>
    /// <param name="supported">What KVM supports, with what the machine provides itself (x2APIC, TSC deadline).</param>
    /// <param name="components">The XSAVE components that KVM supports, XCR0 and IA32_XSS together.</param>
    /// <exception cref="CpuModelException">A feature was asked for that this host or vmm does not have, or that
    /// needs one which is taken away; or one was taken away that a 64-bit guest cannot do without.</exception>
    internal CpuFeatureSet Select(CpuFeatureSet supported, ulong components)
    {
        CpuFeatureSet usable = CpuFeatureDependencies.DropWithoutComponents(
            supported.Without(CpuFeatureSet.Of(NeverGiven)), components);
        if (IsWholeHost)
        {
            return CpuFeatureDependencies.DropUnsupported(usable.Without(CpuFeatureSet.Of(Nested)));
        }

        if (Removed.FirstOrDefault(Required.Contains) is { } required)
        {
            throw new CpuModelException(
                $"--cpu: {required} cannot be taken away: a 64-bit guest does not start without it");
        }

        CheckOffered(Added, "not offered by vmm", name => !NeverGiven.Contains(name));
        CheckOffered(Added, "not supported by this host's KVM", usable.Contains);
        if (_baseline)
        {
            CheckOffered(Level2, "needed by --cpu baseline and not supported by this host's KVM", usable.Contains);
        }

        CpuFeatureSet start = _baseline
            ? CpuFeatureSet.Of(Level2).Or(CpuFeatureSet.Of(ForKernels))
            : usable.Without(CpuFeatureSet.Of(Nested));
        CpuFeatureSet wanted = CpuFeatureDependencies.WithNeeds(CpuFeatureSet.Of([.. Added]));
        CpuFeatureSet selected = CpuFeatureDependencies.DropUnsupported(
            start.Or(wanted).And(usable).Without(CpuFeatureSet.Of([.. Removed])));
        if (Added.FirstOrDefault(name => !selected.Contains(name)) is { } lost)
        {
            CpuFeatureSet needs = CpuFeatureDependencies.WithNeeds(CpuFeatureSet.Of(lost));
            string taken = Removed.First(needs.Contains);
            throw new CpuModelException($"--cpu: {lost} needs {taken}, which is taken away");
        }

        return selected;
    }

    /// <summary>Features that programs neither use nor see the effect of.</summary>
    internal static CpuFeatureSet NotForPrograms => CpuFeatureSet.Of([.. ForKernels, .. NeverGiven, .. Nested]);

    public override string ToString() =>
        string.Concat([Name, .. Added.Select(name => ",+" + name), .. Removed.Select(name => ",-" + name)]);

    private static void CheckOffered(IEnumerable<string> names, string fault, Predicate<string> offered)
    {
        string lacking = string.Join(", ", names.Where(name => !offered(name)));
        if (lacking.Length > 0)
        {
            throw new CpuModelException($"--cpu: {lacking}: {fault}");
        }
    }

    /// <summary>A user's word, safe to print on one line.</summary>
    private static string Show(string word)
    {
        string plain = string.Concat(
            word.Select(letter => char.IsControl(letter) || char.IsSurrogate(letter) ? '?' : letter));
        return plain.Length <= 40 ? plain : string.Concat(plain.AsSpan(0, 37), "...");
    }
}

/// <summary>The value of <c>--cpu</c> is not possible; the message is one line that says why and what to write instead.</summary>
public sealed class CpuModelException(string message) : Exception(message);
