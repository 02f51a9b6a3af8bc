using Vmm.Host;
using Vmm.Kvm;

namespace Vmm.Machines.Slots;

/// <summary>Interrupts of a device that another program serves: KVM delivers them from its eventfds by irqfd while the queue's vector is
/// unmasked. Otherwise the event loop handles them.</summary>
/// <param name="calls">One for each queue.</param>
/// <param name="vectors">The function's MSI-X vectors.</param>
/// <param name="vectorOf">The index of a queue's vector; null for none.</param>
internal sealed class DirectInterrupts(IReadOnlyList<EventFd> calls, MsiVector[] vectors, Func<int, int?> vectorOf)
{
    private readonly Lock _turn = new();
    private readonly MsiVector?[] _connected = new MsiVector?[calls.Count];

    /// <summary>A queue's vector has changed.</summary>
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
