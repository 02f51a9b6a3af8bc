namespace Vmm.Devices.Bus;

/// <summary>A wire into the interrupt controller that stays at the level it was set to (16550, PCI INTx).</summary>
/// <remarks>Setting the level that it already has costs nothing. Safe from any thread.</remarks>
public interface IInterruptLine
{
    void SetLevel(bool asserted);
}

/// <summary>One edge into the interrupt controller, or one message (irqfd, MSI).</summary>
/// <remarks>Edges that arrive before the guest took the last one merge with it. Safe from any thread.</remarks>
public interface IInterruptTrigger
{
    void Trigger();
}
