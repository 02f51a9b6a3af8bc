using Vmm.Host;
using Vmm.Kvm;

namespace Vmm.Machines.Slots;

/// <summary>Interrupts of a device that another program serves: from its eventfds to the guest by KVM alone, as long as a queue has a
/// vector that the guest lets through. Else they come to the event loop.</summary>
/// <param name="calls">One for each queue.</param>
/// <param name="vectors">The function's.</param>
/// <param name="vectorOf">Which of them a queue has now.</param>
internal sealed class DirectInterrupts(IReadOnlyList<EventFd> calls, MsiVector[] vectors, Func<int, int?> vectorOf)
{
    private readonly Lock _turn = new();
    private readonly MsiVector?[] _connected = new MsiVector?[calls.Count];

    /// <summary>A queue has another vector, or none.</summary>
    public void Follow(int queue)
    {
        lock (_turn)
        {
            MsiVector? vector = vectorOf(queue) is { } number ? vectors[number] : null;
            if (vector != _connected[queue])
            {
                _connected[queue]?.Disconnect(calls[queue]);
                vector?.Connect(calls[queue]);
                _connected[queue] = vector;
            }
        }
    }
}
