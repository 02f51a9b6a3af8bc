namespace Vmm.Devices.Bus;

/// <summary>One edge into the interrupt controller, or one message (irqfd, MSI).</summary>
/// <remarks>Edges that arrive before the guest took the last one merge with it. Safe from any thread.</remarks>
public interface IInterruptTrigger
{
    void Trigger();
}
