using System.Diagnostics;
using Vmm.Backends.Networks;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Networks;

/// <summary>Real taps, in a network namespace that ends with the test's thread.</summary>
public sealed class TapNetTests
{
    [TapFact]
    public void Frames_pass_from_one_tap_to_another_through_a_bridge_and_offloads_are_set() => InNamespace(() =>
    {
        using var loop = new EventLoop();
        var log = new SaidLog();
        Ip("link add br0 type bridge", "link set br0 up");
        using var a = new TapNet(loop, "ta", 1, log);
        using var b = new TapNet(loop, "tb", 1, log);
        Ip("link set ta master br0", "link set tb master br0");
        Assert.True(a.Offloads.HasFlag(NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Tso6 | NetOffloads.Ecn));
        using var standA = new NetStand(loop, a, [2, 0, 0, 0, 0, 1]);
        using var standB = new NetStand(loop, b, [2, 0, 0, 0, 0, 2]);
        standB.Offer(100);
        byte[] frame = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, .. NetStand.Frame(1000)];

        // A bridge port forwards once it is through with learning that nobody else is there; until then frames are lost.
        standB.RunUntil(() =>
        {
            standA.Send(frame);
            standB.Settle();
            return standB.TakeFrame() is { } got && got.AsSpan().SequenceEqual(frame);
        });
        Assert.Empty(log.Lines);
    });

    [TapFact]
    public void Queues_are_opened_as_many_as_asked_for() => InNamespace(() =>
    {
        using var loop = new EventLoop();
        var log = new SaidLog();
        using (var tap = new TapNet(loop, "tq", 4, log))
        {
            Assert.Equal(4, tap.QueuePairs);
            tap.Configure(NetOffloads.Checksum, 3);
            tap.Configure(NetOffloads.None, 0);
        }

        Ip("tuntap add old mode tap", "tuntap add many mode tap multi_queue");
        Assert.Contains("multi_queue", Refusal(loop, "old", 2, log), StringComparison.Ordinal);
        using var one = new TapNet(loop, "many", 1, log);
        Assert.Equal(1, one.QueuePairs);
        Assert.Contains("the interface is down", Assert.Single(log.Lines), StringComparison.Ordinal);
    });

    [TapFact]
    public void An_interface_in_use_or_of_another_kind_is_refused_with_a_reason() => InNamespace(() =>
    {
        using var loop = new EventLoop();
        var log = new SaidLog();
        using var first = new TapNet(loop, "t0", 1, log);
        Assert.Contains("in use by another machine", Refusal(loop, "t0", 1, log), StringComparison.Ordinal);
        Assert.Contains("no tap interface", Refusal(loop, "lo", 1, log), StringComparison.Ordinal);
    });

    [TapFact]
    public void A_deleted_interface_is_reported_once_and_takes_the_link_down() => InNamespace(() =>
    {
        using var loop = new EventLoop();
        var log = new SaidLog();
        using var tap = new TapNet(loop, "t0", 1, log);
        using var stand = new NetStand(loop, tap);
        stand.Offer(4);
        Ip("link del t0");
        stand.RunUntil(() => !stand.LinkIsUp);
        stand.Settle();
        Assert.Contains("was deleted", Assert.Single(log.Lines), StringComparison.Ordinal);
        Assert.True(stand.Send(NetStand.Frame(60)));
        Assert.Equal(1, stand.Card.SendDropped);
    });

    [TapFact]
    public void A_flood_that_nobody_has_buffers_for_stays_in_the_kernel_and_costs_no_allocation() => InNamespace(() =>
    {
        using var loop = new EventLoop();
        var log = new SaidLog();
        Ip("link add br0 type bridge", "link set br0 up");
        using var a = new TapNet(loop, "ta", 1, log);
        using var b = new TapNet(loop, "tb", 1, log);
        Ip("link set ta master br0", "link set tb master br0");
        using var from = new NetStand(loop, a, [2, 0, 0, 0, 0, 1]);
        using var to = new NetStand(loop, b, [2, 0, 0, 0, 0, 2]);
        byte[] frame = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, .. NetStand.Frame(46)];
        to.RunUntil(() =>
        {
            to.Offer(1);
            from.Send(frame);
            to.Settle();
            return to.TakeFrame() is not null;
        });
        to.Settle();

        var buffers = new List<ulong>();
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 5000; i++)
            {
                from.Send(frame);
            }

            to.Settle();
            long before = to.Card.ReceivedFrames;
            to.Offer(buffers.Count == 0 ? 200 : 0);
            buffers.ForEach(to.OfferAgain);
            buffers.Clear();
            to.Kick();
            long allocated = Allocations.Of(() =>
            {
                while (loop.Turn(0) > 0)
                {
                    // as long as there are frames and buffers
                }
            });
            Assert.InRange(to.Card.ReceivedFrames - before, 200, 220);
            while (to.TakeFrame(out ulong buffer) is not null)
            {
                buffers.Add(buffer);
            }

            return allocated;
        }));
    });

    private static string Refusal(EventLoop loop, string name, int queues, SaidLog log) =>
        Assert.Throws<UsageException>(() => new TapNet(loop, name, queues, log)).Message;

    private static void Ip(params string[] commands)
    {
        foreach (string command in commands)
        {
            using Process process = Process.Start(new ProcessStartInfo("ip", command) { RedirectStandardError = true })!;
            string said = process.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, $"ip {command}: {said}");
        }
    }

    private static void InNamespace(Action test)
    {
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                TapFactAttribute.EnterNamespace();
                test();
            }
            catch (Exception error)
            {
                failure = error;
            }
        });
        thread.Start();
        thread.Join();
        if (failure is not null)
        {
            throw new InvalidOperationException(failure.Message, failure);
        }
    }
}

/// <summary>Skipped, visibly, where no tap can be made.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class TapFactAttribute : FactAttribute
{
    public TapFactAttribute()
    {
        if (!Environment.IsPrivilegedProcess || !File.Exists("/dev/net/tun") || !File.Exists("/usr/sbin/ip"))
        {
            Skip = "taps in a network namespace need root, /dev/net/tun and iproute2";
        }
    }

    /// <summary>Gives the calling thread, and what it starts, a network of its own.</summary>
    public static void EnterNamespace() => ErrnoException.Check(LibC.unshare(LibC.CLONE_NEWNET), "unshare");
}
