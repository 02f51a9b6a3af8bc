using System.Diagnostics;
using Vmm.Host;

namespace Vmm.Tests.Host;

[Collection(Signalled.Name)]
public sealed unsafe class SignalPipeTests
{
    // Nobody else uses these in a test run, and a stray one would be noticed: their default is to end the process.
    private const int SIGUSR2 = 12;
    private const int SIGURG = 23;
    private const int SIGXCPU = 24;

    [Fact]
    public void Every_signal_arrives_by_its_number_whatever_the_threads_are_doing()
    {
        const int Rounds = 2000;
        using var pipe = new SignalPipe(SIGUSR2, SIGXCPU);
        bool stop = false;
        int tid = 0;
        var busy = new Thread(() =>
        {
            Interlocked.Exchange(ref tid, LibC.Gettid());
            for (long i = 0; !Volatile.Read(ref stop); i++)
            {
                GC.KeepAlive(i.ToString(System.Globalization.CultureInfo.InvariantCulture));
            }
        });
        busy.Start();
        SpinWait.SpinUntil(() => Volatile.Read(ref tid) != 0);
        for (int i = 0; i < Rounds; i++)
        {
            int signal = i % 3 == 0 ? SIGXCPU : SIGUSR2;
            Assert.Equal(0, LibC.Tgkill(LibC.Getpid(), tid, signal));
            Assert.Equal(signal, WaitFor(pipe));
        }

        Volatile.Write(ref stop, true);
        busy.Join();
        Assert.False(pipe.TryRead(out _));
    }

    [Fact]
    public void A_full_pipe_makes_no_handler_wait()
    {
        using var pipe = new SignalPipe(SIGUSR2);
        for (int i = 0; i < 100_000; i++)
        {
            Assert.Equal(0, LibC.Tgkill(LibC.Getpid(), LibC.Gettid(), SIGUSR2));
        }

        Assert.Equal(SIGUSR2, WaitFor(pipe));
    }

    [Fact]
    public void What_a_signal_does_by_default_can_be_had()
    {
        using var pipe = new SignalPipe(SIGURG);
        SignalPipe.DoDefault(SIGURG);                 // which is nothing
        Assert.False(pipe.TryRead(out _));
        Assert.Equal(0, LibC.Tgkill(LibC.Getpid(), LibC.Gettid(), SIGURG));
        Assert.Equal(SIGURG, WaitFor(pipe));
    }

    [Fact]
    public void What_was_there_before_comes_back_and_what_was_ignored_stays_ignored()
    {
        LibC.SignalAction ignore = new() { Handler = LibC.SIG_IGN };
        LibC.SignalAction original;
        Assert.Equal(0, LibC.Sigaction(SIGXCPU, &ignore, &original));
        try
        {
            LibC.SignalAction before = ActionOf(SIGUSR2);
            using (var pipe = new SignalPipe(SIGUSR2, SIGXCPU))
            {
                Assert.NotEqual(before.Handler, ActionOf(SIGUSR2).Handler);
                Assert.Equal(LibC.SIG_IGN, ActionOf(SIGXCPU).Handler);
                Assert.Equal(0, LibC.Tgkill(LibC.Getpid(), LibC.Gettid(), SIGXCPU));
                Assert.Equal(0, LibC.Tgkill(LibC.Getpid(), LibC.Gettid(), SIGUSR2));
                Assert.Equal(SIGUSR2, WaitFor(pipe));
                Assert.False(pipe.TryRead(out _));
            }

            Assert.Equal(before.Handler, ActionOf(SIGUSR2).Handler);
        }
        finally
        {
            _ = LibC.Sigaction(SIGXCPU, &original, null);
        }
    }

    private static LibC.SignalAction ActionOf(int signal)
    {
        LibC.SignalAction action;
        Assert.Equal(0, LibC.Sigaction(signal, null, &action));
        return action;
    }

    private static int WaitFor(SignalPipe pipe)
    {
        int signal = 0;
        var clock = Stopwatch.StartNew();
        while (!pipe.TryRead(out signal) && clock.Elapsed < TimeSpan.FromSeconds(30))
        {
            Thread.Yield();
        }

        return signal;
    }
}
