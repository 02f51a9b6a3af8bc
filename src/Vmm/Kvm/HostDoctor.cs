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

    private static readonly (string Tool, string Package, string Use)[] Tools =
    [
        ("passt", "passt", "--net user: networking without privileges"),
        ("qemu-img", "qemu-utils", "making and checking qcow2 images"),
        ("mke2fs", "e2fsprogs", "making root file systems"),
        ("qemu-system-x86_64", "qemu-system-x86", "vmm --emulated, and the tests, where there is no /dev/kvm"),
    ];

    public static IEnumerable<Finding> Examine()
    {
        KvmSystem? kvm = null;
        string? problem = null;
        try
        {
            kvm = KvmSystem.Open();
        }
        catch (HostException error)
        {
            problem = error.Message;
        }

        if (kvm is null)
        {
            int split = problem!.IndexOf(": ", KvmSystem.DevicePath.Length + 2, StringComparison.Ordinal);
            yield return new Finding(
                Severity.Broken,
                KvmSystem.DevicePath,
                split < 0 ? problem : problem[(KvmSystem.DevicePath.Length + 2)..split],
                split < 0 ? null : problem[(split + 2)..]);
        }
        else
        {
            using (kvm)
            {
                yield return new Finding(Severity.Good, KvmSystem.DevicePath, "opens, API version 12");
                yield return DescribeKind(HostKinds.Detect());
                yield return new Finding(Severity.Good, "vCPUs", $"up to {kvm.MaximumVcpus} in one machine");
                foreach ((KvmCapability capability, bool needed, string use) in Capabilities)
                {
                    yield return DescribeCapability(kvm, capability, needed, use);
                }
            }
        }

        foreach ((string tool, string package, string use) in Tools)
        {
            yield return DescribeTool(tool, package, use);
        }
    }

    private static Finding DescribeKind(HostKind kind) => kind switch
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

    private static Finding DescribeCapability(KvmSystem kvm, KvmCapability capability, bool needed, string use)
    {
        string name = capability.ToString()["KVM_CAP_".Length..];
        return kvm.Check(capability) > 0
            ? new Finding(Severity.Good, name, use)
            : new Finding(
                needed ? Severity.Broken : Severity.Lack, name, $"missing: {use}", "a newer kernel on this host has it");
    }

    private static Finding DescribeTool(string tool, string package, string use)
    {
        string? found = (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Append("/usr/sbin")
            .Select(folder => Path.Combine(folder, tool))
            .FirstOrDefault(File.Exists);
        return found is not null
            ? new Finding(Severity.Good, tool, found)
            : new Finding(Severity.Lack, tool, $"not on PATH: {use}", $"apt-get install {package} (Debian, Ubuntu)");
    }
}
