using System.Buffers.Binary;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm.State;

/// <summary>The saved state of a VM without its memory: the interrupt controllers and the timer in the kernel, the
/// paravirtual clock, and the vCPUs. MSI routes are not in it: they follow from the devices' state.</summary>
/// <param name="vm">The VM, none of whose vCPUs runs.</param>
/// <param name="makeVcpus">All, by id. Called when the state is saved or loaded for the first time: finding out what belongs to
/// it would cost time at each start, and few machines are saved.</param>
internal sealed class VmState(KvmVm vm, Func<IReadOnlyList<VcpuState>> makeVcpus) : ISavedState
{
    // struct kvm_irqchip: chip_id:32 pad:32 and 512 bytes; struct kvm_clock_data: clock:64 flags:32 ...
    private const int ChipHeader = 8, ChipBytes = 512, PitBytes = 112, ClockBytes = 48;

    private static readonly string[] Chips = ["pic0", "pic1", "ioapic"];        // KVM_IRQCHIP_* 0, 1, 2

    private readonly Lazy<IReadOnlyList<VcpuState>> _vcpus = new(makeVcpus);

    /// <summary>For a machine's vCPUs.</summary>
    /// <param name="kvm">Must stay open as long as the machine exists.</param>
    public static VmState Of(KvmSystem kvm, KvmVm vm, IEnumerable<(Vcpu Vcpu, ISavedAssist? Assist)> vcpus) => new(vm, () =>
    {
        uint[] msrs = kvm.GetMsrIndexes();
        bool hasSregs2 = vm.HasSregs2;
        int xsaveBytes = vm.XsaveSize ?? 4096;
        return [.. vcpus.Select(pair => new VcpuState(pair.Vcpu, pair.Assist, msrs, hasSregs2, xsaveBytes))];
    });

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        for (uint chip = 0; chip < Chips.Length; chip++)
        {
            byte[] bytes = new byte[ChipHeader + ChipBytes];
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, chip);
            vm.Transfer(KvmRequest.KVM_GET_IRQCHIP, bytes);
            state.Write(Chips[chip], bytes.AsSpan(ChipHeader));
        }

        byte[] pit = new byte[PitBytes];
        vm.Transfer(KvmRequest.KVM_GET_PIT2, pit);
        state.Write("pit", pit);
        state.Write("vcpus", _vcpus.Value, static (fields, vcpu) => vcpu.Save(fields));
        byte[] clock = new byte[ClockBytes];
        vm.Transfer(KvmRequest.KVM_GET_CLOCK, clock);
        state.Write("clock", BinaryPrimitives.ReadUInt64LittleEndian(clock));
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);
        for (uint chip = 0; chip < Chips.Length; chip++)
        {
            byte[] bytes = new byte[ChipHeader + ChipBytes];
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, chip);
            state.Bytes(Chips[chip], ChipBytes, ChipBytes).CopyTo(bytes, ChipHeader);
            Set(state, Chips[chip], KvmRequest.KVM_SET_IRQCHIP, bytes);
        }

        Set(state, "pit", KvmRequest.KVM_SET_PIT2, state.Bytes("pit", PitBytes, PitBytes));
        StateReader[] list = state.List("vcpus", _vcpus.Value.Count, _vcpus.Value.Count);
        for (int i = 0; i < list.Length; i++)
        {
            _vcpus.Value[i].Load(list[i]);
            list[i].End();
        }

        // Last: the guest's clock continues from the saved time, however old the state is.
        byte[] clock = new byte[ClockBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(clock, state.UInt64("clock", most: long.MaxValue));
        Set(state, "clock", KvmRequest.KVM_SET_CLOCK, clock);
    }

    private void Set(StateReader state, string name, KvmRequest set, byte[] bytes)
    {
        try
        {
            vm.Transfer(set, bytes);
        }
        catch (ErrnoException error)
        {
            throw state.Refuse(name, $"this host's KVM does not take it: {error.Message}");
        }
    }
}
