using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Guests that do not read, terminals and pipes that nobody reads: vmm still listens, and does not spin.</summary>
public sealed class StuckConsoleTests
{
    [KvmFact]
    public void Ctrl_A_x_works_while_keys_are_unread()
    {
        using TestGuest guest = SmallGuests.Endless();
        using var terminal = new VmmTerminal("--kernel", guest.Path, "--mem", "32M");
        terminal.Screen.WaitFor(SmallGuests.Ready.TrimEnd());
        terminal.Type(new string('k', 3000));
        Thread.Sleep(200);
        terminal.Type(VmmTerminal.ControlA + "x");
        (int code, string settings, string screen) = terminal.Finish();
        Assert.True(code == ExitCodes.Success, screen);
        Assert.Equal(terminal.SettingsBefore, settings);
    }

    [KvmTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_terminal_whose_other_side_stops_reading_blocks_neither_signals_nor_keys(bool signal)
    {
        using TestGuest guest = SmallGuests.Chatter();
        using VmmTerminal terminal = VmmTerminal.StartUnread("--kernel", guest.Path, "--mem", "32M");
        ProcessInfo.WaitUntil(() => terminal.Settings != terminal.SettingsBefore, "raw mode");
        Thread.Sleep(1000);                 // the terminal takes some 12 KB
        if (signal)
        {
            terminal.Signal(Signals.SIGTERM);
        }
        else
        {
            terminal.Type(VmmTerminal.ControlA + "x");
        }

        Assert.Equal(signal ? ExitCodes.SignalBase + Signals.SIGTERM : ExitCodes.Success, terminal.WaitForEnd());
        Assert.Equal(terminal.SettingsBefore, terminal.Settings);
    }

    [KvmFact]
    public void Input_that_has_ended_unread_costs_no_CPU_time()
    {
        using TestGuest guest = SmallGuests.Idle();
        using VmmProcess vmm = VmmProcess.Start("--kernel", guest.Path, "--mem", "32M");
        vmm.Type("unread");
        vmm.CloseInput();
        vmm.Output.WaitFor(SmallGuests.Ready);
        AssertAtRest(vmm.Id, "vmm-");
    }

    [KvmFact]
    public void Output_that_nobody_reads_costs_the_devices_no_CPU_time()
    {
        // The guest itself polls the port all the time.
        using TestGuest guest = SmallGuests.Chatter();
        using VmmProcess vmm = VmmProcess.StartUnread(4096, "--kernel", guest.Path, "--mem", "32M");
        Thread.Sleep(1000);
        AssertAtRest(vmm.Id, "vmm-");
    }

    [KvmFact]
    public void An_idle_machine_in_the_background_costs_no_CPU_time()
    {
        using TestGuest guest = SmallGuests.Idle();
        using var shell = new JobShell();
        int pid = shell.StartVmm($"--kernel {guest.Path} --mem 32M", "&");
        shell.Screen.WaitFor(SmallGuests.Ready.TrimEnd());
        shell.Type("echo typed");           // there is something to read, for the shell
        AssertAtRest(pid, "");
    }

    /// <summary>A quarter of a processor at most: one that spins has all of it, or half on a busy machine. In an emulated host the
    /// timers that are due cost more than a tenth.</summary>
    private static void AssertAtRest(int pid, string threads)
    {
        var period = TimeSpan.FromSeconds(3);
        TimeSpan before = ProcessInfo.CpuTimeOf(pid, threads);
        Thread.Sleep(period);
        TimeSpan used = ProcessInfo.CpuTimeOf(pid, threads) - before;
        Assert.True(used < period / 4, $"{used.TotalMilliseconds} ms of CPU time in {period.TotalSeconds} s");
    }
}
