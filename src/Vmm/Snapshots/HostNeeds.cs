using System.Buffers.Binary;
using System.Text;
using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Text;

namespace Vmm.Snapshots;

/// <summary>What a host must offer to restore a guest. The guest has read its CPUID once, when it booted.</summary>
internal sealed class HostNeeds
{
    private const int MostNames = 1024, MostName = 64, VendorLength = 12;

    // Bits that mirror CR4 and that KVM sets by itself.
    private static readonly string[] Mirrors = ["osxsave", "ospke"];

    private static readonly (string Name, KvmCapability Capability)[] Capabilities =
    [
        ("KVM_CAP_XSAVE2", KvmCapability.KVM_CAP_XSAVE2),
        ("KVM_CAP_SREGS2", KvmCapability.KVM_CAP_SREGS2),
        ("KVM_CAP_TSC_DEADLINE_TIMER", KvmCapability.KVM_CAP_TSC_DEADLINE_TIMER),
    ];

    private HostNeeds(string vendor, IReadOnlyList<string> features, IReadOnlyList<string> capabilities, uint tscKhz) =>
        (Vendor, Features, KvmCapabilities, TscKhz) = (vendor, features, capabilities, tscKhz);

    /// <summary>As CPUID leaf 0 spells it: <c>GenuineIntel</c>.</summary>
    public string Vendor { get; }

    /// <summary>What the guest's CPUID shows, by the names of /proc/cpuinfo.</summary>
    public IReadOnlyList<string> Features { get; }

    /// <summary>The capabilities of KVM that the state depends on and that the old host had.</summary>
    public IReadOnlyList<string> KvmCapabilities { get; }

    /// <summary>Frequency of the guest's time-stamp counter; 0 where KVM did not know it.</summary>
    public uint TscKhz { get; }

    /// <param name="vcpu">Of a quiesced machine.</param>
    public static HostNeeds Of(Vcpu vcpu, KvmSystem kvm)
    {
        CpuidEntry[] cpuid = vcpu.GetCpuid();
        return new HostNeeds(
            VendorOf(cpuid),
            [.. new CpuFeatureSet(cpuid).Names.Except(Mirrors)],
            [.. Capabilities.Where(each => kvm.Check(each.Capability) > 0).Select(static each => each.Name)],
            vcpu.TscKhz);
    }

    /// <param name="vcpu">Of a machine that was made here, of the same CPU model; the state is not loaded yet.</param>
    /// <exception cref="StateException">This host lacks something.</exception>
    public void Check(Vcpu vcpu, KvmSystem kvm)
    {
        CpuidEntry[] here = vcpu.GetCpuid();
        string vendor = VendorOf(here);
        if (vendor != Vendor)
        {
            throw new StateException(
                "host.vendor", $"the machine was saved on a processor of {PrintableText.Of(Vendor)}, and this is one of {vendor}");
        }

        var offered = new CpuFeatureSet(here);
        string[] missing = [.. Features.Where(name => !offered.Contains(name))];
        if (missing.Length > 0)
        {
            throw new StateException("host.features", $"the machine uses what this processor or its KVM lacks: {PrintableText.Of(string.Join(' ', missing))}");
        }

        string[] unknown =
        [
            .. KvmCapabilities.Where(name => !Array.Exists(Capabilities, each => each.Name == name && kvm.Check(each.Capability) > 0)),
        ];
        if (unknown.Length > 0)
        {
            throw new StateException("host.capabilities", $"this host's KVM lacks: {PrintableText.Of(string.Join(' ', unknown))}; a newer Linux may have it");
        }
    }

    public void Write(StateWriter state)
    {
        state.Write("vendor", Vendor);
        state.Write("features", string.Join(' ', Features));
        state.Write("capabilities", string.Join(' ', KvmCapabilities));
        state.Write("tscKhz", TscKhz);
    }

    public static HostNeeds Read(StateReader state)
    {
        var needs = new HostNeeds(
            state.String("vendor", VendorLength), Names(state, "features"), Names(state, "capabilities"), state.UInt32("tscKhz"));
        state.End();
        return needs;
    }

    private static string[] Names(StateReader state, string field) =>
        state.String(field, MostNames * MostName).Split(' ', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Leaf 0: EBX, EDX, ECX.</summary>
    private static string VendorOf(ReadOnlySpan<CpuidEntry> cpuid)
    {
        foreach (ref readonly CpuidEntry entry in cpuid)
        {
            if (entry.Function == 0)
            {
                byte[] name = new byte[VendorLength];
                BinaryPrimitives.WriteUInt32LittleEndian(name, entry.Ebx);
                BinaryPrimitives.WriteUInt32LittleEndian(name.AsSpan(4), entry.Edx);
                BinaryPrimitives.WriteUInt32LittleEndian(name.AsSpan(8), entry.Ecx);
                return PrintableText.Of(Encoding.ASCII.GetString(name));
            }
        }

        return "";
    }
}
