using Vmm.Devices.Bus;
using Vmm.Host;

namespace Vmm.Kvm;

/// <summary>An edge on a GSI by irqfd: one write to an eventfd, the rest happens in the kernel.</summary>
internal sealed class IrqFdTrigger : IInterruptTrigger, IDisposable
{
    private readonly EventFd _eventFd = new();

    public IrqFdTrigger(KvmVm vm, uint gsi) => vm.AddIrqFd(_eventFd, gsi);

    public void Trigger() => _eventFd.Signal();

    public void Dispose() => _eventFd.Dispose();
}
