using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Machines.Slots;

/// <summary>The eventfds through which the queues of one device are kicked: by KVM, when the guest notifies and an
/// ioeventfd caught it, or by vmm itself. Their other end is the event loop.</summary>
internal sealed class QueueEvents : IQueueNotifier, IDisposable
{
    private readonly EventFd[] _events;
    private readonly EventLoop.Watch[] _watches;
    private readonly EventLoop _loop;

    public QueueEvents(EventLoop loop, VirtioDevice device)
    {
        _loop = loop;
        int count = device.QueueSizes.Length;
        _events = new EventFd[count];
        _watches = new EventLoop.Watch[count];
        for (int i = 0; i < count; i++)
        {
            int queue = i;
            var kick = new EventFd();
            _events[i] = kick;
            _watches[i] = loop.Add(kick.Number, LibC.EPOLLIN, _ =>
            {
                kick.Drain();
                device.Notify(queue);
            }, device.Name);
        }
    }

    public int Count => _events.Length;

    public EventFd this[int queue] => _events[queue];

    public void Kick(VirtioDevice device, int queue) => _events[queue].Signal();

    public void Dispose()
    {
        for (int i = 0; i < _events.Length; i++)
        {
            _loop.Remove(_watches[i]);
            _events[i].Dispose();
        }
    }
}
