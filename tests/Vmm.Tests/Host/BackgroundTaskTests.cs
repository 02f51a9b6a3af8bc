using Vmm.Host;

namespace Vmm.Tests.Host;

public sealed class BackgroundTaskTests
{
    [Fact]
    public void Finish_waits_for_the_work()
    {
        using var go = new ManualResetEventSlim();
        int done = 0;
        using var work = new BackgroundTask("test", 128 * 1024, () =>
        {
            go.Wait();
            done = 1;
        });
        go.Set();
        work.Finish();
        Assert.Equal(1, done);
    }

    [Fact]
    public void Finish_throws_what_the_work_threw()
    {
        using var work = new BackgroundTask("test", 128 * 1024, () => throw new HostException("no"));
        Assert.Equal("no", Assert.Throws<HostException>(work.Finish).Message);
    }

    [Fact]
    public void Dispose_waits_and_does_not_throw()
    {
        bool done = false;
        new BackgroundTask("test", 128 * 1024, () =>
        {
            done = true;
            throw new HostException("nobody asked");
        }).Dispose();
        Assert.True(done);
    }

    [Fact]
    public void The_same_thread_goes_on_with_something_else()
    {
        int first = 0, second = 0;
        HostThread thread;
        bool isCurrent = false;
        using (var work = new BackgroundTask("test", 128 * 1024, () => first = Environment.CurrentManagedThreadId))
        {
            work.Finish();
            Assert.Equal(0, second);
            thread = work.Thread;
            work.RunNext(() => (second, isCurrent) = (Environment.CurrentManagedThreadId, thread.IsCurrent));
        }

        Assert.False(thread.IsAlive);
        Assert.Equal(first, second);
        Assert.True(isCurrent);
        Assert.False(thread.IsCurrent);
    }

    [Fact]
    public void An_event_loop_runs_on_a_thread_that_was_there()
    {
        using var work = new BackgroundTask(EventLoop.ThreadName, EventLoop.StackSize, () => { });
        using var loop = new EventLoop();
        loop.Start(work);
        using var done = new ManualResetEventSlim();
        bool isLoops = false;
        loop.Post(() =>
        {
            isLoops = loop.IsLoopThread;
            done.Set();
        });
        Assert.True(done.Wait(TimeSpan.FromMinutes(1)));
        Assert.True(isLoops);
    }
}
