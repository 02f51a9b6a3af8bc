using System.Collections.Concurrent;
using Vmm.Host;

namespace Vmm.Tests.Host;

public sealed class EventLoopTests
{
    [Fact]
    public void Signals_reach_their_handlers_on_the_loop_thread()
    {
        using var loop = new EventLoop();
        using var first = new EventFd();
        using var second = new EventFd();
        using var done = new CountdownEvent(2);
        var seen = new ConcurrentBag<(string, bool)>();
        loop.Add(first.Number, LibC.EPOLLIN, _ => Note("first", first));
        loop.Add(second.Number, LibC.EPOLLIN, _ => Note("second", second));
        loop.Start();
        second.Signal();
        first.Signal();
        Assert.True(done.Wait(TimeSpan.FromSeconds(60)));
        Assert.Equal([("first", true), ("second", true)], seen.Order());

        void Note(string name, EventFd source)
        {
            source.Drain();
            seen.Add((name, loop.IsLoopThread));
            done.Signal();
        }
    }

    [Fact]
    public void A_removed_watch_is_silent_and_its_place_is_used_again()
    {
        using var loop = new EventLoop();
        using var removed = new EventFd();
        using var kept = new EventFd();
        using var done = new ManualResetEventSlim();
        bool wrong = false;
        EventLoop.Watch watch = loop.Add(removed.Number, LibC.EPOLLIN, _ => wrong = true);
        loop.Remove(watch);
        loop.Remove(watch);
        loop.Add(kept.Number, LibC.EPOLLIN, _ =>
        {
            kept.Drain();
            done.Set();
        });
        removed.Signal();
        kept.Signal();
        loop.Start();
        Assert.True(done.Wait(TimeSpan.FromSeconds(60)));
        Assert.False(wrong);
    }

    [Fact]
    public void An_event_of_a_removed_watch_does_not_reach_the_one_that_got_its_slot()
    {
        using var loop = new EventLoop();
        using var first = new EventFd();
        using var second = new EventFd();
        using var successor = new EventFd();
        var watches = new EventLoop.Watch?[2];
        int calls = 0;
        bool wrong = false;
        watches[0] = loop.Add(first.Number, LibC.EPOLLIN, _ => Replace(1));
        watches[1] = loop.Add(second.Number, LibC.EPOLLIN, _ => Replace(0));
        first.Signal();
        second.Signal();

        // Both are ready in the one batch. The handler that runs first removes the other, and its slot gets a watch for which
        // nothing has happened.
        Assert.Equal(2, loop.Turn(0));
        Assert.Equal(1, calls);
        Assert.False(wrong);

        void Replace(int other)
        {
            calls++;
            loop.Remove(watches[other]!);
            loop.Add(successor.Number, LibC.EPOLLIN, _ => wrong = true);
        }
    }

    [Fact]
    public void A_regular_file_cannot_be_watched_and_says_so()
    {
        using var loop = new EventLoop();
        using FileStream file = File.OpenRead("/proc/self/exe");
        Assert.Null(loop.TryAdd((int)file.SafeFileHandle.DangerousGetHandle(), LibC.EPOLLIN, _ => { }));
    }

    [Fact]
    public void A_handler_that_throws_stops_the_loop_and_raises_Failed()
    {
        using var loop = new EventLoop();
        using var fd = new EventFd();
        using var told = new ManualResetEventSlim();
        Exception? error = null;
        loop.Failed += e =>
        {
            error = e;
            told.Set();
        };
        loop.Add(fd.Number, LibC.EPOLLIN, _ => throw new InvalidOperationException("broken"));
        loop.Start();
        fd.Signal();
        Assert.True(told.Wait(TimeSpan.FromSeconds(60)));
        Assert.Equal("broken", error!.Message);
    }

    [Fact]
    public void Posted_work_runs_in_order()
    {
        using var loop = new EventLoop();
        using var done = new ManualResetEventSlim();
        var order = new List<int>();
        for (int i = 0; i < 100; i++)
        {
            int number = i;
            loop.Post(() => order.Add(number));
        }

        loop.Post(done.Set);
        loop.Start();
        Assert.True(done.Wait(TimeSpan.FromSeconds(60)));
        Assert.Equal(Enumerable.Range(0, 100), order);
    }
}
