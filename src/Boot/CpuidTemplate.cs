using System.Buffers.Binary;

namespace Vmm.Boot;

/// <summary>The CPUID tables of a machine: made once from what KVM supports, then copied for each vCPU.</summary>
public sealed class CpuidTemplate
{
    private const uint Hypervisor = 0x4000_0000, KvmFeatures = 0x4000_0001, KvmTiming = 0x4000_0010;

    // KVM_FEATURE_ bits (<asm/kvm_para.h>) whose use is a hypercall: MMU_OP, PV_UNHALT, PV_SEND_IPI,
    // PV_SCHED_YIELD, HC_MAP_GPA_RANGE.
    private const uint HypercallFeatures = 1 << 2 | 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16;
    private const uint MsiExtendedDestination = 1 << 15;

    // The bits of leaf 0x80000001 EDX that repeat leaf 1 EDX on AMD's processors.
    private const uint Repeated = 0x0183_f3ff;

    // KVM's local APIC timer counts nanoseconds (APIC_BUS_CYCLE_NS is 1).
    private const uint ApicBusKhz = 1_000_000;

    private readonly CpuidEntry[] _common;

    /// <summary>Makes the table that all vCPUs share.</summary>
    /// <param name="supported">The answer of KVM_GET_SUPPORTED_CPUID.</param>
    /// <param name="options">What the machine knows.</param>
    /// <exception cref="CpuModelException">The CPU model is not possible on this host.</exception>
    public CpuidTemplate(ReadOnlySpan<CpuidEntry> supported, CpuidOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Cpus, 1);
        var table = new CpuidTable(supported);
        bool amd = IsAmd(table.Get(0));

        CpuFeatureSet? always = options.AlwaysVisible is { } visible ? ForPrograms(visible) : null;
        CpuFeatureSet offered = Offered(supported, options);
        offered = always is null ? offered : offered.Or(always);
        ulong components = CpuXsave.Components(table);
        Features = options.Model.Select(offered, components);
        HiddenButPresent = always is null || options.Model.IsWholeHost
            ? []
            : [.. CpuModel.Host.Select(offered, components).And(always).Without(Features).Names];

        ApplyFeatures(table, amd);
        if (always is null)
        {
            // Elsewhere leaf 0xD stays as KVM gave it: it describes registers that programs use all the same.
            CpuXsave.Keep(table, CpuFeatureDependencies.ComponentsOf(Features));
        }

        new CpuTopology(options.Cpus).Apply(table, amd);
        ClearUnused(table);
        SetHypervisor(table, options);
        SetFrequency(table, options.TscKhz, amd);
        _common = table.ToArray();
    }

    /// <summary>The features that the table shows.</summary>
    public CpuFeatureSet Features { get; }

    /// <summary>Features that the table hides but that programs in the guest see and can use all the same, because
    /// this host runs user mode with its own CPUID (<see cref="CpuidOptions.AlwaysVisible"/>). Reported to the user when
    /// <c>--cpu</c> hid them.</summary>
    public IReadOnlyList<string> HiddenButPresent { get; }

    /// <summary>The table for KVM_SET_CPUID2 of one vCPU.</summary>
    /// <param name="vcpu">Its number, which is its APIC id.</param>
    public CpuidEntry[] ForVcpu(int vcpu)
    {
        CpuidEntry[] entries = [.. _common];
        CpuTopology.ApplyId(entries, vcpu);
        return entries;
    }

    private static CpuFeatureSet Offered(ReadOnlySpan<CpuidEntry> supported, CpuidOptions options)
    {
        // KVM's in-kernel APIC has these two, but KVM_GET_SUPPORTED_CPUID cannot know that one is used.
        CpuFeatureSet offered = new CpuFeatureSet(supported).Or(CpuFeatureSet.Of("hypervisor", "x2apic"));
        CpuFeatureSet deadline = CpuFeatureSet.Of("tsc_deadline_timer");
        return options.TscDeadlineTimer ? offered.Or(deadline) : offered.Without(deadline);
    }

    private void ApplyFeatures(CpuidTable table, bool amd)
    {
        for (int word = 0; word < CpuFeatureNames.Words; word++)
        {
            CpuFeatureWord where = CpuFeatureNames.WordAt(word);
            if (table.TryFind(where.Leaf, where.Index, out int at) && table.Entries[at].Index == where.Index)
            {
                table.Entries[at].Set(where.Register, Features[word]);
            }
        }

        if (amd && table.TryFind(0x8000_0001, 0, out int extended))
        {
            ref CpuidEntry entry = ref table.Entries[extended];
            entry.Edx = (entry.Edx & ~Repeated) | (entry.Edx & Repeated & table.Get(1).Edx);
        }
    }

    /// <summary>Leaves that describe what the guest does not have, or the host's power and cache management.</summary>
    private void ClearUnused(CpuidTable table)
    {
        table.Clear(5);                                         // MONITOR/MWAIT
        if (table.TryFind(6, 0, out int thermal))               // thermal and power: the always running APIC timer
        {
            ref CpuidEntry entry = ref table.Entries[thermal];
            (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx) = (entry.Eax & 1 << 2, 0, 0, 0);
        }

        table.Clear(9);                                         // direct cache access
        table.Clear(0xa);                                       // performance counters
        table.Clear(0xf);                                       // resource monitoring
        table.Clear(0x10);                                      // resource allocation
        table.Clear(0x12);                                      // SGX
        table.Clear(0x14);                                      // processor trace
        table.Clear(0x1c);                                      // last branch records
        table.Clear(0x8000_001b);                               // instruction based sampling
        table.Clear(0x8000_0022);                               // AMD's performance counters, version 2
        ClearUnless("keylocker", table, 0x19);
        ClearUnless("amx_tile", table, 0x1d, 0x1e);
        ClearUnless("avx10", table, 0x24);
        ClearUnless("svm", table, 0x8000_000a);
    }

    private void ClearUnless(string feature, CpuidTable table, params ReadOnlySpan<uint> leaves)
    {
        if (Features.Contains(feature))
        {
            return;
        }

        foreach (uint leaf in leaves)
        {
            table.Clear(leaf);
        }
    }

    private static void SetHypervisor(CpuidTable table, CpuidOptions options)
    {
        // "KVMKVMKVM" and three zero bytes. Documentation/virt/kvm/x86/cpuid.rst.
        table.Put(
            Hypervisor, options.TscKhz == 0 ? KvmFeatures : KvmTiming, FourLetters("KVMK"u8), FourLetters("VMKV"u8), 'M');

        CpuidEntry features = table.Get(KvmFeatures);
        uint eax = options.HideHypercalls ? features.Eax & ~HypercallFeatures : features.Eax;
        table.Put(KvmFeatures, eax & ~MsiExtendedDestination, 0, 0, features.Edx);
        table.Remove(KvmTiming);
        if (options.TscKhz != 0)
        {
            // The generic timing leaf that hypervisors share: kHz of the TSC and of the local APIC's timer.
            table.Add(KvmTiming, 0, options.TscKhz, ApicBusKhz, 0, 0);
        }
    }

    /// <summary>Intel's leaves 0x15 and 0x16, where the table reaches that far.</summary>
    private static void SetFrequency(CpuidTable table, uint tscKhz, bool amd)
    {
        if (amd || tscKhz == 0 || table.Get(0).Eax < 0x16)
        {
            return;
        }

        // TSC = crystal * EBX / EAX, and the crystal also drives the APIC timer, so that it must be KVM's 1 GHz.
        // Linux multiplies kHz in 32 bits: if the reduced fraction would overflow that, the leaf is left empty.
        uint divisor = GreatestCommonDivisor(tscKhz, ApicBusKhz);
        (uint numerator, uint denominator) = (tscKhz / divisor, ApicBusKhz / divisor);
        if ((ulong)numerator * ApicBusKhz <= uint.MaxValue)
        {
            table.Put(0x15, denominator, numerator, ApicBusKhz * 1000, 0);
        }
        else
        {
            table.Clear(0x15);
        }

        uint megahertz = (tscKhz + 500) / 1000;
        table.Put(0x16, megahertz, megahertz, 100, 0);
    }

    private static uint GreatestCommonDivisor(uint a, uint b)
    {
        while (b != 0)
        {
            (a, b) = (b, a % b);
        }

        return a;
    }

    private static bool IsAmd(CpuidEntry vendor)
    {
        (uint, uint, uint) name = (vendor.Ebx, vendor.Edx, vendor.Ecx);
        return name == (FourLetters("Auth"u8), FourLetters("enti"u8), FourLetters("cAMD"u8))
            || name == (FourLetters("Hygo"u8), FourLetters("nGen"u8), FourLetters("uine"u8));
    }

    private static uint FourLetters(ReadOnlySpan<byte> text) => BinaryPrimitives.ReadUInt32LittleEndian(text);

    /// <summary>The features that add instructions for programs. XSAVES is not one: it needs privilege level 0.</summary>
    private static CpuFeatureSet ForPrograms(CpuFeatureSet features) =>
        features.And(CpuFeatureSet.Named).Without(CpuModel.NotForPrograms).Without(CpuFeatureSet.Of("xsaves"));
}
