using System.Diagnostics;
using Vmm.Host;

namespace Vmm.Tests.Host;

[Collection(Signalled.Name)]
public sealed class ProcessEndTests
{
    [Fact]
    public void A_signal_does_not_end_the_wait()
    {
        using Process child = Process.Start(new ProcessStartInfo("sleep", ["100"]))!;
        using var process = new FileDescriptor(LibC.pidfd_open(child.Id));
        using var signals = new SignalPipe(LibC.SIGUSR2);
        int tid = 0;
        bool hasEnded = false;
        var waiter = new Thread(() =>
        {
            Volatile.Write(ref tid, LibC.gettid());
            hasEnded = ProcessEnd.Wait(process, TimeSpan.FromMinutes(1));
        });
        waiter.Start();
        SpinWait.SpinUntil(() => Volatile.Read(ref tid) != 0);
        for (int i = 0; i < 20; i++)
        {
            Thread.Sleep(5);
            Assert.Equal(0, LibC.tgkill(LibC.getpid(), tid, LibC.SIGUSR2));
        }

        Assert.True(waiter.IsAlive);
        child.Kill();
        waiter.Join();
        Assert.True(hasEnded);
    }

    [Fact]
    public void It_ends_with_the_patience_or_when_it_is_to_stop()
    {
        using Process child = Process.Start(new ProcessStartInfo("sleep", ["100"]))!;
        using var process = new FileDescriptor(LibC.pidfd_open(child.Id));
        Assert.False(ProcessEnd.Wait(process, TimeSpan.FromMilliseconds(20)));
        (FileDescriptor stop, FileDescriptor write) = Pipe.Create();
        write.Dispose();        // readable: its end
        Assert.False(ProcessEnd.Wait(process, Timeout.InfiniteTimeSpan, stop.Number));
        stop.Dispose();
        child.Kill();
        Assert.True(ProcessEnd.Wait(process, Timeout.InfiniteTimeSpan));
    }
}
