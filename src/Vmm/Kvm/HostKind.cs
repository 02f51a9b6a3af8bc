namespace Vmm.Kvm;

/// <summary>The kind of KVM behind /dev/kvm; see docs/hosts.md.</summary>
internal enum HostKind
{
    /// <summary>None of the known modules is loaded.</summary>
    Unknown,

    /// <summary>kind 1: Intel VT-x (kvm_intel).</summary>
    VtX,

    /// <summary>kind 2: AMD-V (kvm_amd).</summary>
    AmdV,

    /// <summary>kind 3: PVM (kvm_pvm): the guest's kernel code is emulated instruction by instruction.</summary>
    Pvm,
}

internal static class HostKinds
{
    /// <summary>Looks in /sys/module, which lists built-in modules as well.</summary>
    /// <remarks>kvm_pvm is looked for last: where it is built into a kernel that has VT-x or AMD-V, it does not bind.
    /// </remarks>
    public static HostKind Detect(string modules = "/sys/module") =>
        Directory.Exists(Path.Combine(modules, "kvm_intel")) ? HostKind.VtX
        : Directory.Exists(Path.Combine(modules, "kvm_amd")) ? HostKind.AmdV
        : Directory.Exists(Path.Combine(modules, "kvm_pvm")) ? HostKind.Pvm
        : HostKind.Unknown;

    public static string Describe(this HostKind kind) => kind switch
    {
        HostKind.VtX => "Intel VT-x (kvm_intel)",
        HostKind.AmdV => "AMD-V (kvm_amd)",
        HostKind.Pvm => "PVM (kvm_pvm): guest kernel code is emulated, expect boots of many seconds",
        _ => "unknown",
    };
}
