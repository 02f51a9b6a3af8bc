using System.Runtime.Intrinsics.X86;

namespace Vmm.Kvm;

/// <summary>What to do where there is no /dev/kvm: that depends on why there is none.</summary>
internal static class MissingKvm
{
    /// <summary>This processor says that it has VT-x: CPUID leaf 1, ECX bit 5 (Intel SDM volume 3, 24.6).</summary>
    public static bool HasVtX => (X86Base.CpuId(1, 0).Ecx & 1 << 5) != 0;

    /// <summary>This processor says that it has AMD-V: CPUID leaf 0x80000001, ECX bit 2 (AMD APM volume 2, 15.4).</summary>
    public static bool HasAmdV =>
        (uint)X86Base.CpuId(unchecked((int)0x8000_0000), 0).Eax >= 0x8000_0001
        && (X86Base.CpuId(unchecked((int)0x8000_0001), 0).Ecx & 1 << 2) != 0;

    /// <summary>The remedy that works on every host.</summary>
    public const string EmulatedRemedy = "or 'vmm --emulated ...' in a host that is emulated, slowly";

    /// <summary>The remedy, in one line.</summary>
    /// <param name="modules">The kernel's modules, also those that are built in.</param>
    /// <param name="device">There where the kernel has the device, whatever serves it, also in a container that has not.</param>
    public static string Remedy(bool hasVtX, bool hasAmdV, string modules = "/sys/module", string device = "/sys/class/misc/kvm")
    {
        bool Has(string module) => Directory.Exists(Path.Combine(modules, module));
        string? loaded = Has("kvm_intel") ? "kvm_intel" : Has("kvm_amd") ? "kvm_amd" : Directory.Exists(device) ? "KVM" : null;
        if (loaded is not null)
        {
            return $"the kernel has {loaded}, so this is a container or chroot without the device: start it with --device /dev/kvm";
        }

        if (hasVtX || hasAmdV)
        {
            return $"load the module: sudo modprobe {(hasVtX ? "kvm_intel" : "kvm_amd")}; if that fails, switch virtualization on "
                + "in the firmware";
        }

        return Has("kvm_pvm")
            ? "this machine is a PVM guest, in which there is no second one: use a machine with VT-x, AMD-V or nested virtualization"
            : "switch virtualization (VT-x or AMD-V) on in the firmware, or ask your cloud for nested virtualization";
    }
}
