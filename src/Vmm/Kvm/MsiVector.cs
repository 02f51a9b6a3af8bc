using Vmm.Devices.Pci;
using Vmm.Host;

namespace Vmm.Kvm;

/// <summary>One MSI-X vector: an irqfd on a GSI of its own, whose route is the message that the guest chose.</summary>
internal sealed class MsiVector(KvmVm vm, GsiRouter router) : IMsiVector, IDisposable
{
    private EventFd? _eventFd;
    private uint _gsi;
    private (ulong Address, uint Data)? _message;

    public void Update(ulong address, uint data, bool masked)
    {
        if (masked)
        {
            return; // nothing is triggered until the next update; the route may stay
        }

        bool first = _eventFd is null;
        if (first)
        {
            _gsi = router.AllocateGsi();
        }

        if (_message != (address, data))
        {
            _message = (address, data);
            router.SetMessage(_gsi, address, data);
        }

        if (first)
        {
            // After the route: KVM_IRQFD looks it up at once.
            var eventFd = new EventFd();
            vm.AddIrqFd(eventFd, _gsi);
            Volatile.Write(ref _eventFd, eventFd);
        }
    }

    public void Trigger() => Volatile.Read(ref _eventFd)?.Signal();

    public void Dispose() => _eventFd?.Dispose();
}
