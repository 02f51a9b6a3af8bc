using Vmm.Devices.Pci;
using Vmm.Host;

namespace Vmm.Kvm;

/// <summary>One MSI-X vector: an irqfd on a GSI of its own, whose route is the message that the guest chose.</summary>
internal sealed class MsiVector(KvmVm vm, GsiRouter router) : IMsiVector, IDisposable
{
    private readonly EventFd _eventFd = new();
    private bool _isBound;
    private uint _gsi;
    private (ulong Address, uint Data)? _message;

    public void Update(ulong address, uint data, bool masked)
    {
        if (masked)
        {
            return; // nothing is triggered until the next update; the route may stay
        }

        if (!_isBound)
        {
            _gsi = router.AllocateGsi();
        }

        if (_message != (address, data))
        {
            _message = (address, data);
            router.SetMessage(_gsi, address, data);
        }

        if (!_isBound)
        {
            // After the route: KVM_IRQFD looks it up at once.
            vm.AddIrqFd(_eventFd, _gsi);
            Volatile.Write(ref _isBound, true);
        }
    }

    /// <summary>Does nothing before the guest has unmasked the vector for the first time.</summary>
    public void Trigger()
    {
        if (Volatile.Read(ref _isBound))
        {
            _eventFd.Signal();
        }
    }

    public void Dispose() => _eventFd.Dispose();
}
