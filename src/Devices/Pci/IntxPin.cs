using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Pci;

/// <summary>INTA# of a function (PCI Local Bus 3.0, sections 2.2.6 and 6.2.2): asserted while there are causes that the guest
/// has not read, unless the guest has disabled it.</summary>
/// <remarks>Safe to use from any thread.</remarks>
internal sealed class IntxPin(IInterruptLine line)
{
    private readonly Lock _lock = new();
    private int _reasons;
    private bool _disabled;

    /// <summary>Interrupt Status in the status register: there is a cause, whether or not the pin is disabled.</summary>
    public bool IsRaised => Volatile.Read(ref _reasons) != 0;

    /// <summary>Adds causes, one bit each.</summary>
    public void Raise(int reasons)
    {
        lock (_lock)
        {
            _reasons |= reasons;
            Drive();
        }
    }

    /// <summary>Returns and clears all causes; the pin is deasserted.</summary>
    public int Take()
    {
        lock (_lock)
        {
            int reasons = _reasons;
            _reasons = 0;
            Drive();
            return reasons;
        }
    }

    /// <summary>Interrupt Disable in the command register, or MSI-X in its place.</summary>
    public void SetDisabled(bool disabled)
    {
        lock (_lock)
        {
            _disabled = disabled;
            Drive();
        }
    }

    /// <summary>The pending causes, for the saved state.</summary>
    public int Reasons => Volatile.Read(ref _reasons);

    /// <summary>Loads the pending causes, and whether the pin is disabled, from a saved state.</summary>
    public void Restore(int reasons, bool disabled)
    {
        lock (_lock)
        {
            _reasons = reasons;
            _disabled = disabled;
            Drive();
        }
    }

    private void Drive() => line.SetLevel(_reasons != 0 && !_disabled);
}
