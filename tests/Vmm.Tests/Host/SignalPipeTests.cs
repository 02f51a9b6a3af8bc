using System.Diagnostics;
using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Tests.Host;

[Collection(Signalled.Name)]
public sealed unsafe class SignalPipeTests
{
    // Nobody else uses these in a test run, and a stray one would be noticed: their default is to end the process.
    private static int SIGUSR2 => LibC.SIGUSR2;
    private static int SIGURG => LibC.SIGURG;
    private static int SIGXCPU => LibC.SIGXCPU;

    [Fact]
    public void Every_signal_arrives_by_its_number_whatever_the_threads_are_doing()
    {
        const int Rounds = 2000;
        using var pipe = new SignalPipe(SIGUSR2, SIGXCPU);
        bool stop = false;
        int tid = 0;
        var busy = new Thread(() =>
        {
            Interlocked.Exchange(ref tid, LibC.gettid());
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
            Assert.Equal(0, LibC.tgkill(LibC.getpid(), tid, signal));
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
            Assert.Equal(0, LibC.tgkill(LibC.getpid(), LibC.gettid(), SIGUSR2));
        }

        Assert.Equal(SIGUSR2, WaitFor(pipe));
    }

    [Fact]
    public void What_a_signal_does_by_default_can_be_had()
    {
        using var pipe = new SignalPipe(SIGURG);
        SignalPipe.DoDefault(SIGURG);                 // which is nothing
        Assert.False(pipe.TryRead(out _));
        Assert.Equal(0, LibC.tgkill(LibC.getpid(), LibC.gettid(), SIGURG));
        Assert.Equal(SIGURG, WaitFor(pipe));
    }

    [Fact]
    public void What_was_there_before_comes_back_and_what_was_ignored_stays_ignored()
    {
        sigaction ignore = new() { sa_handler = LibC.SIG_IGN };
        sigaction original;
        Assert.Equal(0, LibC.sigaction(SIGXCPU, &ignore, &original));
        try
        {
            sigaction before = ActionOf(SIGUSR2);
            using (var pipe = new SignalPipe(SIGUSR2, SIGXCPU))
            {
                Assert.True(before.sa_handler != ActionOf(SIGUSR2).sa_handler);
                Assert.True(ActionOf(SIGXCPU).sa_handler == LibC.SIG_IGN);
                Assert.Equal(0, LibC.tgkill(LibC.getpid(), LibC.gettid(), SIGXCPU));
                Assert.Equal(0, LibC.tgkill(LibC.getpid(), LibC.gettid(), SIGUSR2));
                Assert.Equal(SIGUSR2, WaitFor(pipe));
                Assert.False(pipe.TryRead(out _));
            }

            Assert.True(before.sa_handler == ActionOf(SIGUSR2).sa_handler);
        }
        finally
        {
            _ = LibC.sigaction(SIGXCPU, &original, null);
        }
    }

    private static sigaction ActionOf(int signal)
    {
        sigaction action;
        Assert.Equal(0, LibC.sigaction(signal, null, &action));
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
