using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Pci;

/// <summary>INTA# of a function (PCI Local Bus 3.0, sections 2.2.6 and 6.2.2): up while there are reasons for it that
/// the guest has not taken, unless it is held back.</summary>
/// <remarks>Safe to use from any thread.</remarks>
internal sealed class IntxPin(IInterruptLine line)
{
    private readonly Lock _lock = new();
    private int _reasons;
    private bool _disabled;

    /// <summary>Interrupt Status in the status register: up, were it not held back.</summary>
    public bool IsRaised => Volatile.Read(ref _reasons) != 0;

    /// <summary>Adds reasons, one bit each.</summary>
    public void Raise(int reasons)
    {
        lock (_lock)
        {
            _reasons |= reasons;
            Drive();
        }
    }

    /// <summary>Takes all reasons; the pin goes down.</summary>
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

    /// <summary>The reasons that stand, to save them.</summary>
    public int Reasons => Volatile.Read(ref _reasons);

    /// <summary>Takes reasons over from a saved state, and whether it is held back.</summary>
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
