namespace Vmm.Insight.Profile;

/// <summary>How a counter of KVM relates to the exits that vmm saw.</summary>
internal enum KvmRelation
{
    /// <summary>Both count the same thing: they must agree.</summary>
    Same,

    /// <summary>KVM counts also what user space never saw.</summary>
    AtLeast,

    /// <summary>KVM counts something else of that name, or, on PVM hosts, nothing.</summary>
    Other,
}

/// <summary>One of KVM's own counters beside the exits of that kind which vmm saw.</summary>
/// <remarks>
/// What the counters mean (linux/arch/x86/kvm, and measured on a PVM host with guests of known exits):
/// <list type="bullet">
/// <item><c>mmio_exits</c>: accesses to memory that went to user space, counted when the emulator asks for it; an access
/// that an ioeventfd or a device in the kernel took is not among them. The same as KVM_EXIT_MMIO, except that an access
/// of more than 8 bytes, or over a page's end, is one for KVM and several for user space.</item>
/// <item><c>insn_emulation_fail</c>: times that the emulator gave up. Each KVM_EXIT_INTERNAL_ERROR of it is one; others were
/// answered in the kernel by an exception or another try (on a PVM host more than half of them).</item>
/// <item><c>signal_exits</c>: KVM_RUN came back with EINTR for a pending signal. The same as those EINTRs of vmm that carry
/// KVM_EXIT_INTR; where immediate_exit was quicker than the signal, KVM counts nothing.</item>
/// <item><c>io_exits</c>: on VT-x and AMD-V, each IN and OUT that left the guest, also those that the kernel's PIC, PIT
/// and ioeventfds answered: at least what vmm sees. A PVM host's emulator counts none.</item>
/// <item><c>exits</c>: all ways out of the guest, most of which user space never sees.</item>
/// </list>
/// </remarks>
/// <param name="Counter">KVM's name for it.</param>
/// <param name="Kvm">KVM's value.</param>
/// <param name="What">What vmm counted beside it.</param>
/// <param name="Vmm">How many that were.</param>
internal sealed record KvmComparison(string Counter, ulong Kvm, string What, long Vmm, KvmRelation Relation)
{
    /// <summary>Whether the two values satisfy the relation.</summary>
    public bool Agrees => Relation switch
    {
        KvmRelation.Same => Kvm == (ulong)Vmm,
        KvmRelation.AtLeast => Kvm >= (ulong)Vmm,
        _ => true,
    };

    public static IReadOnlyList<KvmComparison> Of(ExitProfile profile)
    {
        (string Counter, string What, KvmRelation Relation, Func<ExitName, bool> Counts)[] pairs =
        [
            ("mmio_exits", "MMIO", KvmRelation.Same, name => name.Reason == "MMIO"),
            ("insn_emulation_fail", "INTERNAL_ERROR of the emulator", KvmRelation.AtLeast, name => name is { Reason: "INTERNAL_ERROR", Device: "assist" }),
            ("signal_exits", "INTR by a signal", KvmRelation.Same, name => name is { Reason: "INTR", What: "signal" }),
            ("io_exits", "IO", KvmRelation.Other, name => name.Reason == "IO"),
            ("exits", "all", KvmRelation.Other, _ => true),
        ];
        return
        [
            .. pairs.Where(pair => profile.Kvm.ContainsKey(pair.Counter)).Select(pair => new KvmComparison(
                pair.Counter,
                profile.Kvm[pair.Counter],
                pair.What,
                profile.Lines.Where(line => pair.Counts(line.Name)).Sum(line => line.InVmm.Count),
                pair.Relation)),
        ];
    }
}
