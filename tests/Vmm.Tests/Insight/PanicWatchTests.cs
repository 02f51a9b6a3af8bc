using System.Text;
using Vmm.Insight.Complaints;
using Vmm.Machines;

namespace Vmm.Tests.Insight;

public sealed class PanicWatchTests
{
    private const string InitDied = "[    2.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100";

    private readonly ComplaintWatch _console = new();
    private readonly PanicWatch _panic;

    public PanicWatchTests() => _panic = new PanicWatch(_console);

    [Fact]
    public void A_panic_is_what_the_console_says_and_a_reset_confirms()
    {
        Assert.Same(MachineEnd.Reset, _panic.Resolve(MachineEnd.Reset));
        Say(InitDied, "[    2.000001] CPU: 0 PID: 1 Comm: false Not tainted 6.1.0 #1", "[    2.000002] Kernel Offset: disabled");
        MachineEnd end = _panic.Resolve(MachineEnd.Reset);
        Assert.Equal((MachineEndKind.GuestPanicked, ExitCodes.GuestPanicked), (end.Kind, end.ExitCode));
        Assert.Equal("the guest's kernel panicked: Attempted to kill init! exitcode=0x00000100", end.Message);
        Assert.Equal(end, _panic.Resolve(MachineEnd.UnwantedReset));
        Assert.Equal(end, _panic.Resolve(MachineEnd.Crashed("triple fault")));     // reboot=t
    }

    [Theory]
    [InlineData("[    3.000000] reboot: Restarting system")]
    [InlineData("reboot: Restarting system with command 'x'")]
    [InlineData("# [    3.000000] sysrq: Resetting")]
    public void Output_of_a_program_is_no_panic_when_the_kernel_restarts_in_good_order(string orderly)
    {
        Say(InitDied, orderly);
        Assert.Same(MachineEnd.Reset, _panic.Resolve(MachineEnd.Reset));
        Say("[    1.000000] Kernel panic - not syncing: VFS: no root");
        Assert.Equal("the guest's kernel panicked: VFS: no root", _panic.Resolve(MachineEnd.Reset).Message);
    }

    [Fact]
    public void Output_of_a_program_changes_no_other_end()
    {
        Say(InitDied);
        foreach (MachineEnd end in new[]
            {
                MachineEnd.PoweredOff, MachineEnd.FromGuest(3), MachineEnd.Quit, MachineEnd.StoppedBySignal(15, "SIGTERM"),
                MachineEnd.HostFailed("x"), MachineEnd.OutputClosed("x"), MachineEnd.Reached("init"),
            })
        {
            Assert.Same(end, _panic.Resolve(end));
        }
    }

    [Fact]
    public void Pvpanic_needs_no_second_witness()
    {
        _panic.Report(handledByGuest: false);
        Assert.Contains("pvpanic", _panic.Resolve(MachineEnd.PoweredOff).Message, StringComparison.Ordinal);
        Say(InitDied);
        Assert.Equal(_panic.Stuck(), _panic.Resolve(MachineEnd.Reset));
        Assert.EndsWith("exitcode=0x00000100", _panic.Stuck().Message, StringComparison.Ordinal);
        Assert.Same(MachineEnd.Quit, _panic.Resolve(MachineEnd.Quit));
    }

    [Fact]
    public void A_panic_with_a_crash_kernel_is_reported_as_a_panic_too()
    {
        Say(InitDied);
        _panic.Report(handledByGuest: true);
        Assert.EndsWith("its own crash kernel took over", _panic.Resolve(MachineEnd.PoweredOff).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_panic_without_a_reason_is_reported_with_an_earlier_line()
    {
        Say(
            "[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2",
            "[    2.000000] kernel BUG at lib/list_debug.c:29!",
            "[    2.000001] invalid opcode: 0000 [#1] SMP",
            "[    2.000002] Kernel panic - not syncing: Fatal exception in interrupt");
        Assert.Equal(
            "the guest's kernel panicked: Fatal exception in interrupt (kernel BUG at lib/list_debug.c:29!)",
            _panic.Resolve(MachineEnd.Reset).Message);
    }

    [Fact]
    public void A_panic_with_a_reason_is_reported_without_earlier_lines()
    {
        Say("[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2", InitDied);
        Assert.EndsWith("exitcode=0x00000100", _panic.Resolve(MachineEnd.Reset).Message, StringComparison.Ordinal);
    }

    private void Say(params string[] lines) =>
        _console.Sent(Encoding.UTF8.GetBytes(string.Concat(lines.Select(line => line + "\r\n"))));
}
