using Vmm.Devices.State;
using Vmm.Devices.Tests.Virtio;
using Vmm.Devices.Virtio;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Machines.Slots;

namespace Vmm.Tests.Host;

/// <summary>There is one kind of timer: on the event loop.</summary>
public sealed class LoopTimeTests
{
    [Fact]
    public void The_limit_of_a_device_wakes_it_on_the_event_loop_and_from_nowhere_else()
    {
        using var rig = new TestRig();
        using var loop = new EventLoop();
        using var ram = new GuestRam(MachineSpec.MinimumMemory);
        var spec = new MachineSpec { Kernel = "none", Rng = true };
        using var backends = DeviceBackends.Open(spec, loop, ram);
        using var devices = new GuestDevices(spec, loop, ram, backends);
        using var slots = new Slots();
        devices.PlugInto(slots);
        var driver = new TestDriver(rig, slots.Devices.Single(), Variant.Default);
        driver.Start();

        // Until the limit lets no more through: the last one waits for a timer.
        const uint Length = 4096;
        ulong at = driver.Allocate(Length);
        do
        {
            driver.Queues[0].Add(new Devices.Tests.Virtio.Buffer(at, Length, true));
            driver.Kick();
        }
        while (driver.Queues[0].TryTake(out _, out _));

        int kicks = rig.Kicks;
        Thread.Sleep(300);                          // many times what the timer was set to
        Assert.Equal(kicks, rig.Kicks);
        Assert.Equal(1, loop.Turn(10_000));
        Assert.Equal(kicks + 1, rig.Kicks);
    }

    [Fact]
    public void A_timer_can_be_set_again_and_stopped_and_ends_with_its_owner()
    {
        using var loop = new EventLoop();
        using var time = new LoopTime(loop);
        int fired = 0;
        ITimer timer = time.CreateTimer(_ => fired++, null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        Assert.Equal(0, loop.Turn(20));
        timer.Change(TimeSpan.FromHours(1), Timeout.InfiniteTimeSpan);
        timer.Change(TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        Assert.Equal(1, loop.Turn(10_000));
        Assert.Equal(1, fired);
        timer.Change(TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);
        timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        Assert.Equal(0, loop.Turn(20));
        Assert.Throws<NotSupportedException>(() => timer.Change(TimeSpan.Zero, TimeSpan.FromSeconds(1)));
        timer.Change(TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);
        time.Dispose();
        Assert.Equal(0, loop.Turn(20));
        Assert.Equal(1, fired);
    }

    private sealed class Slots : IVirtioSlots
    {
        public List<VirtioDevice> Devices { get; } = [];

        public void Plug(VirtioDevice device) => Devices.Add(device);

        public void Save(StateWriter state) => throw new NotSupportedException();

        public void Load(StateReader state) => throw new NotSupportedException();

        public void Dispose()
        {
        }
    }
}
