using Vmm.Devices.Pci;
using Vmm.Host;

namespace Vmm.Kvm;

/// <summary>One MSI-X vector: an irqfd on a GSI of its own, whose route is the message that the guest chose.</summary>
internal sealed class MsiVector(KvmVm vm, GsiRouter router) : IMsiVector, IDisposable
{
    private readonly EventFd _eventFd = new();
    private readonly Lock _turn = new();
    private readonly List<EventFd> _sources = [];
    private bool _isBound, _isOpen;
    private uint _gsi;
    private (ulong Address, uint Data)? _message;

    /// <summary>Lets signals of another program interrupt the guest whenever the vector is not masked. While it is, they stay in the
    /// eventfd. Any thread.</summary>
    public void Connect(EventFd source)
    {
        lock (_turn)
        {
            _sources.Add(source);
            if (_isOpen)
            {
                vm.AddIrqFd(source, _gsi);
            }
        }
    }

    /// <summary>Undoes <see cref="Connect"/>.</summary>
    public void Disconnect(EventFd source)
    {
        lock (_turn)
        {
            if (_sources.Remove(source) && _isOpen)
            {
                vm.RemoveIrqFd(source, _gsi);
            }
        }
    }

    public void Update(ulong address, uint data, bool masked)
    {
        lock (_turn)
        {
            if (masked)
            {
                Close();
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

            Open();
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

    private void Open()
    {
        if (!_isOpen)
        {
            _isOpen = true;
            _sources.ForEach(source => vm.AddIrqFd(source, _gsi));
        }
    }

    private void Close()
    {
        if (_isOpen)
        {
            _isOpen = false;
            _sources.ForEach(source => vm.RemoveIrqFd(source, _gsi));
        }
    }
}
