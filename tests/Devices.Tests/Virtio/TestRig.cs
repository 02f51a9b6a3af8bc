using Vmm.Devices.Bus;
using Vmm.Devices.Virtio;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>What surrounds a device in a VM: memory (with a hole), an event loop, interrupts, a log. Nothing runs by
/// itself: a test decides when the loop takes its turn.</summary>
internal sealed class TestRig : IDisposable, IQueueNotifier, IInterruptTrigger, IDeviceLog
{
    public const ulong LowMemory = 4 << 20;
    public const ulong HighStart = 0x1_0000_0000;
    public const ulong HighMemory = 1 << 20;

    private readonly Queue<(VirtioDevice Device, int Queue)> _kicks = new();
    private int _interrupts;

    public TestMemory Test { get; } = new((0, LowMemory), (HighStart, HighMemory));

    public Devices.Memory.GuestMemory Memory => Test.Memory;

    public List<string> Log { get; } = [];

    public int Interrupts => Volatile.Read(ref _interrupts);

    public int Kicks { get; private set; }

    public void Kick(VirtioDevice device, int queue)
    {
        lock (_kicks)
        {
            Kicks++;
            if (!_kicks.Contains((device, queue)))
            {
                _kicks.Enqueue((device, queue));
            }
        }
    }

    public void Trigger() => Interlocked.Increment(ref _interrupts);

    public void Warn(string device, string message)
    {
        lock (Log)
        {
            Log.Add($"{device}: {message}");
        }
    }

    /// <summary>Lets the loop take turns until nobody is kicked any more, at most <paramref name="turns"/>.</summary>
    /// <returns>How many it took.</returns>
    public int RunLoop(int turns = 10_000)
    {
        int taken = 0;
        while (taken < turns)
        {
            (VirtioDevice Device, int Queue) kick;
            lock (_kicks)
            {
                if (!_kicks.TryDequeue(out kick))
                {
                    break;
                }
            }

            kick.Device.Notify(kick.Queue);
            taken++;
        }

        return taken;
    }

    public void Dispose() => Test.Dispose();
}
