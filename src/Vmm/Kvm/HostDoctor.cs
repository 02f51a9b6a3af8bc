using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>Finds out what this host can do for vmm.</summary>
internal static class HostDoctor
{
    private static readonly (KvmCapability Capability, bool Needed, string Use)[] Capabilities =
    [
        (KvmCapability.KVM_CAP_IRQCHIP, true, "interrupt controllers in the kernel"),
        (KvmCapability.KVM_CAP_PIT2, true, "timer (PIT) in the kernel"),
        (KvmCapability.KVM_CAP_USER_MEMORY, true, "guest memory in this process"),
        (KvmCapability.KVM_CAP_IRQFD, true, "interrupts without an exit"),
        (KvmCapability.KVM_CAP_IOEVENTFD, true, "device notifications without an exit"),
        (KvmCapability.KVM_CAP_IMMEDIATE_EXIT, true, "stopping a vCPU without a race"),
        (KvmCapability.KVM_CAP_IRQ_ROUTING, true, "message-signalled interrupts"),
        (KvmCapability.KVM_CAP_TSC_DEADLINE_TIMER, false, "the cheapest guest timer"),
        (KvmCapability.KVM_CAP_EXIT_ON_EMULATION_FAILURE, false, "named instructions when a guest crashes"),
        (KvmCapability.KVM_CAP_SYNC_REGS, false, "registers without system calls for the assist"),
        (KvmCapability.KVM_CAP_XSAVE2, false, "vector state for the assist"),
        (KvmCapability.KVM_CAP_X86_MSR_FILTER, false, "system calls on PVM hosts"),
        (KvmCapability.KVM_CAP_BINARY_STATS_FD, false, "KVM's own statistics"),
    ];

    private static readonly (string Tool, string Package, string Fedora, string Use)[] Tools =
    [
        ("virtiofsd", "virtiofsd (Debian 12: qemu-system-common)", "virtiofsd", "vmm run with this host's files, --share"),
        ("passt", "passt", "passt", "--net user: networking without privileges"),
        ("qemu-img", "qemu-utils", "qemu-img", "making and checking qcow2 images"),
        ("mke2fs", "e2fsprogs", "e2fsprogs", "making root file systems"),
        ("qemu-system-x86_64", "qemu-system-x86", "qemu-system-x86", "vmm --emulated, and the tests, where there is no /dev/kvm"),
    ];

    public static IEnumerable<Finding> Examine() => Examine(KvmSystem.Open, Environment.GetEnvironmentVariable("PATH") ?? "");

    /// <param name="open">Opens /dev/kvm.</param>
    /// <param name="path">Directories of programs, as PATH has them.</param>
    internal static IReadOnlyList<Finding> Examine(Func<KvmSystem> open, string path)
    {
        var findings = new List<Finding>();
        try
        {
            using KvmSystem kvm = open();
            findings.Add(new Finding(Severity.Good, KvmSystem.DevicePath, "opens, API version 12"));
            findings.Add(DescribeKind(HostKinds.Detect()));
            findings.Add(new Finding(Severity.Good, "vCPUs", $"up to {kvm.MaximumVcpus} in one machine"));
            foreach ((KvmCapability capability, bool needed, string use) in Capabilities)
            {
                findings.Add(DescribeCapability(capability, kvm.Check(capability) > 0, needed, use));
            }
        }
        catch (HostException error)
        {
            const string Prefix = KvmSystem.DevicePath + ": ";
            string state = error.Problem.StartsWith(Prefix, StringComparison.Ordinal) ? error.Problem[Prefix.Length..] : error.Problem;
            findings.Add(new Finding(Severity.Broken, KvmSystem.DevicePath, state, error.Remedy));
        }

        foreach ((string tool, string package, string fedora, string use) in Tools)
        {
            findings.Add(DescribeTool(tool, PackageManager.Install(package, fedora), use, path));
        }

        return findings;
    }

    internal static Finding DescribeKind(HostKind kind) => kind switch
    {
        HostKind.Pvm => new Finding(
            Severity.Lack,
            "kind of host",
            kind.Describe(),
            "for speed use a host with VT-x or AMD-V, or a cloud machine with nested virtualization"),
        HostKind.Unknown => new Finding(
            Severity.Lack,
            "kind of host",
            "served by none of kvm_intel, kvm_amd and kvm_pvm",
            "vmm treats it as if it were VT-x"),
        _ => new Finding(Severity.Good, "kind of host", kind.Describe()),
    };

    internal static Finding DescribeCapability(KvmCapability capability, bool isThere, bool needed, string use)
    {
        string name = capability.ToString()["KVM_CAP_".Length..];
        return isThere
            ? new Finding(Severity.Good, name, use)
            : new Finding(
                needed ? Severity.Broken : Severity.Lack, name, $"missing: {use}", "a newer kernel on this host has it");
    }

    private static Finding DescribeTool(string tool, string install, string use, string path)
    {
        string? found = path
            .Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Concat(["/usr/sbin", "/usr/libexec", "/usr/lib/qemu"])
            .Select(folder => Path.Combine(folder, tool))
            .FirstOrDefault(File.Exists);
        return found is not null
            ? new Finding(Severity.Good, tool, found)
            : new Finding(Severity.Lack, tool, $"not on PATH: {use}", install);
    }
}
