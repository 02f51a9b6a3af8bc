using Vmm.Host;
using Vmm.Run;
using Vmm.Tests.Host;

namespace Vmm.Tests.Run;

[Collection(Signalled.Name)]
public sealed class RunSignalsTests
{
    public static TheoryData<int> Ending => [LibC.SIGHUP, LibC.SIGINT, LibC.SIGQUIT, LibC.SIGTERM, LibC.SIGXCPU];

    /// <summary>The limit of CPU time (ulimit -t) among them: without that vmm would be killed, and its sockets would stay.</summary>
    [Theory]
    [MemberData(nameof(Ending))]
    public void A_signal_goes_to_the_command_and_the_third_one_ends_the_machine(int signal)
    {
        List<string> calls = [];
        using var loop = new EventLoop();
        using var signals = new RunSignals(
            loop,
            forwarded =>
            {
                calls.Add($"forward {forwarded}");
                return true;
            },
            ended => calls.Add($"end {ended}"),
            static () => { });

        // What an earlier test has left in the pipe comes first.
        Send(loop, LibC.SIGUSR2);
        calls.Clear();
        for (int i = 0; i < 3; i++)
        {
            Send(loop, signal);
        }

        Assert.Equal([$"forward {signal}", $"forward {signal}", $"end {signal}"], calls);
    }

    [Fact]
    public void One_that_is_not_forwarded_ends_the_machine()
    {
        List<int> ended = [];
        using var loop = new EventLoop();
        using var signals = new RunSignals(loop, static _ => false, ended.Add, static () => { });
        Send(loop, LibC.SIGTERM);
        Assert.Equal(LibC.SIGTERM, ended[^1]);
    }

    private static void Send(EventLoop loop, int signal)
    {
        Assert.Equal(0, LibC.tgkill(LibC.getpid(), LibC.gettid(), signal));     // is in the pipe when this returns
        Assert.Equal(1, loop.Turn(10_000));
    }
}
