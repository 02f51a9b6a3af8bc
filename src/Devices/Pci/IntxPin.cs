using Vmm.Devices.Bus;

namespace Vmm.Devices.Pci;

/// <summary>INTA# of a function (PCI Local Bus 3.0, sections 2.2.6 and 6.2.2): a level that the function raises and
/// that Interrupt Disable in the command register holds back.</summary>
/// <remarks>Safe to use from any thread.</remarks>
internal sealed class IntxPin(IInterruptLine line)
{
    private readonly Lock _lock = new();
    private bool _raised, _disabled;

    /// <summary>Interrupt Status in the status register: raised, disabled or not.</summary>
    public bool IsRaised => Volatile.Read(ref _raised);

    public void SetRaised(bool raised)
    {
        lock (_lock)
        {
            Volatile.Write(ref _raised, raised);
            line.SetLevel(_raised && !_disabled);
        }
    }

    public void SetDisabled(bool disabled)
    {
        lock (_lock)
        {
            _disabled = disabled;
            line.SetLevel(_raised && !_disabled);
        }
    }
}
