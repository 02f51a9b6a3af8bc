using System.Runtime.InteropServices;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>KVM's routing table of GSIs: the first 24 are the pins of PIC and IOAPIC, each later one is a message-signalled
/// interrupt.</summary>
/// <remarks>KVM takes the table only as a whole (KVM API 4.52). Safe to use from any thread.</remarks>
internal sealed class GsiRouter
{
    private const uint IoApicPins = 24;
    private const uint PicPins = 16;
    private const uint HighDestination = 0xffff_ff00;

    private readonly KvmVm _vm;
    private readonly Lock _lock = new();
    private readonly List<KvmIrqRoutingEntry> _entries = [];
    private uint _nextGsi = IoApicPins;

    public GsiRouter(KvmVm vm)
    {
        _vm = vm;

        // What KVM_CREATE_IRQCHIP set up, which a new table has to repeat: chips 0 and 1 are the PICs, 2 the IOAPIC.
        for (uint gsi = 0; gsi < IoApicPins; gsi++)
        {
            if (gsi < PicPins)
            {
                _entries.Add(Pin(gsi, chip: gsi < 8 ? 0u : 1u, pin: gsi % 8));
            }

            _entries.Add(Pin(gsi, chip: 2, pin: gsi));
        }
    }

    /// <summary>Allocates a GSI.</summary>
    public uint AllocateGsi()
    {
        lock (_lock)
        {
            return _nextGsi++;
        }
    }

    /// <summary>Routes a GSI to the message that the guest chose. Its address and data are passed on unchanged: KVM
    /// reads destination and vector from them as the APIC would.</summary>
    /// <remarks>Only reserved bits of the address's upper half are cleared: with 32-bit APIC ids KVM would refuse the whole
    /// table because of them (KVM API 4.52).</remarks>
    public void SetMessage(uint gsi, ulong address, uint data)
    {
        var entry = new KvmIrqRoutingEntry
        {
            Gsi = gsi,
            Type = KvmIrqRoutingEntry.KVM_IRQ_ROUTING_MSI,
            MsiAddressLo = (uint)address,
            MsiAddressHi = (uint)(address >> 32) & HighDestination,
            MsiData = data,
        };
        lock (_lock)
        {
            int at = _entries.FindIndex(other =>
                other.Gsi == gsi && other.Type == KvmIrqRoutingEntry.KVM_IRQ_ROUTING_MSI);
            if (at < 0)
            {
                _entries.Add(entry);
            }
            else
            {
                _entries[at] = entry;
            }

            _vm.SetGsiRouting(CollectionsMarshal.AsSpan(_entries));
        }
    }

    private static KvmIrqRoutingEntry Pin(uint gsi, uint chip, uint pin) => new()
    {
        Gsi = gsi,
        Type = KvmIrqRoutingEntry.KVM_IRQ_ROUTING_IRQCHIP,
        IrqchipIrqchip = chip,
        IrqchipPin = pin,
    };
}
