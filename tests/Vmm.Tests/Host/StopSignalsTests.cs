using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Tests.Host;

[Collection(Signalled.Name)]
public sealed class StopSignalsTests : IDisposable
{
    private readonly EventLoop _loop = new();
    private readonly Target _machine = new();

    public void Dispose() => _loop.Dispose();

    [Fact]
    public void SIGTERM_presses_the_button_once_and_ends_the_machine_when_it_comes_later()
    {
        using var signals = new StopSignals(_loop, _machine, TimeSpan.Zero);
        Send(LibC.SIGTERM);
        Send(LibC.SIGTERM);
        Hear();
        Send(LibC.SIGTERM);
        Hear();
        Assert.Equal(["button"], _machine.Calls);
        Thread.Sleep(1100);
        Send(LibC.SIGTERM);
        Hear();
        Assert.Equal(["button", "end 143"], _machine.Calls);
    }

    [Fact]
    public void A_machine_that_does_not_listen_ends_at_once()
    {
        _machine.Listens = false;
        using var signals = new StopSignals(_loop, _machine, TimeSpan.Zero);
        Send(LibC.SIGTERM);
        Hear();
        Assert.Equal(["button", "end 143"], _machine.Calls);
    }

    public static TheoryData<int> Others => [LibC.SIGHUP, LibC.SIGINT, LibC.SIGQUIT];

    [Theory]
    [MemberData(nameof(Others))]
    public void The_other_signals_end_it_without_the_button(int signal)
    {
        using var signals = new StopSignals(_loop, _machine, TimeSpan.Zero);
        Send(signal);
        Hear();
        Assert.Equal([$"end {128 + signal}"], _machine.Calls);
    }

    [Fact]
    public void The_limit_of_CPU_time_presses_the_button_and_never_more()
    {
        using var signals = new StopSignals(_loop, _machine, TimeSpan.Zero);
        Send(LibC.SIGXCPU);
        Hear();
        Thread.Sleep(1100);
        Send(LibC.SIGXCPU);
        Hear();
        Assert.Equal(["button"], _machine.Calls);
    }

    [Fact]
    public void The_time_to_shut_down_ends()
    {
        using var signals = new StopSignals(_loop, _machine, TimeSpan.FromMilliseconds(50));
        Send(LibC.SIGTERM);
        Hear();
        Assert.Equal(1, _loop.Turn(10_000));
        Assert.Equal(["button", "end 72"], _machine.Calls);
    }

    [Fact]
    public void SIGCONT_takes_the_terminal_and_the_terminals_own_signals_do_nothing()
    {
        using (var signals = new StopSignals(_loop, _machine, TimeSpan.Zero))
        {
            Send(LibC.SIGTTIN);
            Send(LibC.SIGTTOU);
            Send(LibC.SIGCONT);
            Hear();
        }

        Assert.Equal(["take"], _machine.Calls);
    }

    [Fact]
    public void Signals_after_the_loops_end_are_reported_to_a_waiting_caller()
    {
        using var signals = new StopSignals(_loop, _machine, TimeSpan.Zero);
        Send(LibC.SIGCONT);
        Send(LibC.SIGXCPU);
        Assert.Null(signals.TakeEnd());
        Send(LibC.SIGTERM);
        Assert.Equal(143, signals.TakeEnd()!.ExitCode);
        Assert.Null(signals.TakeEnd());
        Assert.Empty(_machine.Calls);
    }

    /// <summary>To this thread: it has been handled when the call returns.</summary>
    private static void Send(int signal) => Assert.Equal(0, LibC.tgkill(LibC.getpid(), LibC.gettid(), signal));

    private void Hear() => Assert.Equal(1, _loop.Turn(10_000));

    private sealed class Target : ISignalled
    {
        public bool Listens { get; set; } = true;

        public List<string> Calls { get; } = [];

        public bool PressPowerButton()
        {
            Calls.Add("button");
            return Listens;
        }

        public void End(MachineEnd end) => Calls.Add($"end {end.ExitCode}");

        public void GiveTerminal() => Calls.Add("give");

        public void TakeTerminal() => Calls.Add("take");
    }
}
