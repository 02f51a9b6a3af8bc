using Vmm.Backends.VhostUser;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;

namespace Vmm.Machines.Slots;

/// <summary>The eventfds through which the queues of one device are kicked: by KVM, when the guest notifies and an
/// ioeventfd caught it, or by vmm itself. Their other end is the event loop, or the program that serves the
/// device.</summary>
internal sealed class QueueEvents : IQueueNotifier, IDisposable
{
    private readonly EventFd[] _events;
    private readonly EventLoop.Watch?[] _watches;
    private readonly EventLoop _loop;
    private readonly VirtioDevice _device;

    public QueueEvents(EventLoop loop, VirtioDevice device)
    {
        _loop = loop;
        _device = device;
        int count = device.QueueSizes.Length;
        _events = new EventFd[count];
        _watches = new EventLoop.Watch?[count];
        for (int i = 0; i < count; i++)
        {
            _events[i] = new EventFd();
        }

        if (device is VhostDevice { Backend: VhostUserBackend backend } served)
        {
            backend.Attach(served, _events, Watch);
        }
        else
        {
            Watch();
        }
    }

    public int Count => _events.Length;

    public EventFd this[int queue] => _events[queue];

    public void Kick(VirtioDevice device, int queue) => _events[queue].Signal();

    public void Dispose()
    {
        for (int i = 0; i < _events.Length; i++)
        {
            if (_watches[i] is { } watch)
            {
                _loop.Remove(watch);
            }

            _events[i].Dispose();
        }
    }

    private void Watch()
    {
        for (int i = 0; i < _events.Length; i++)
        {
            int queue = i;
            EventFd kick = _events[i];
            _watches[i] = _loop.Add(kick.Number, LibC.EPOLLIN, _ =>
            {
                kick.Drain();
                _device.Notify(queue);
            }, _device.Name);
        }
    }
}
