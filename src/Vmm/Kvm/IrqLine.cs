using Vmm.Devices.Bus;

namespace Vmm.Kvm;

/// <summary>An input pin of KVM's PIC and IOAPIC, held high or low by one device.</summary>
internal sealed class IrqLine(KvmVm vm, uint gsi) : IInterruptLine
{
    private readonly Lock _lock = new();
    private bool _high;

    public void SetLevel(bool asserted)
    {
        lock (_lock)
        {
            if (asserted != _high)
            {
                _high = asserted;
                vm.SetIrqLine(gsi, asserted);
            }
        }
    }
}
