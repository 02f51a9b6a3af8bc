using Vmm.Devices.Bus;

namespace Vmm.Devices.Pci;

/// <summary>One input of the interrupt controller for several devices: it is asserted while any of them asserts it, as wired-or
/// lines are (INTx: four lines for all slots).</summary>
/// <remarks>Safe to use from any thread. It has no state of its own to save: each device drives its end again when its own
/// state is loaded.</remarks>
public sealed class SharedInterruptLine(IInterruptLine line)
{
    private readonly Lock _lock = new();
    private int _asserted;

    /// <summary>The end for one more device.</summary>
    public IInterruptLine Connect() => new Tap(this);

    private sealed class Tap(SharedInterruptLine owner) : IInterruptLine
    {
        private bool _level;

        public void SetLevel(bool asserted)
        {
            lock (owner._lock)
            {
                if (asserted == _level)
                {
                    return;
                }

                _level = asserted;
                owner._asserted += asserted ? 1 : -1;
                owner.Line.SetLevel(owner._asserted > 0);
            }
        }
    }

    private IInterruptLine Line { get; } = line;
}
