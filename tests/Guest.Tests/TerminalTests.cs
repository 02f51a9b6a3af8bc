using Iced.Intel;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>On a terminal: raw mode while the guest runs, and everything as it was on every way out.</summary>
public sealed class TerminalTests
{
    [KvmFact]
    public void Ctrl_A_x_ends_vmm_and_gives_the_terminal_back()
    {
        using TestGuest guest = SmallGuests.Endless();
        AssertRestored(guest, ExitCodes.Success, terminal => terminal.Type(VmmTerminal.ControlA + "x"));
    }

    [KvmTheory]
    [InlineData(Signals.SIGHUP)]
    [InlineData(Signals.SIGINT)]
    [InlineData(Signals.SIGQUIT)]
    [InlineData(Signals.SIGTERM)]
    public void A_signal_ends_vmm_and_gives_the_terminal_back(int signal)
    {
        using TestGuest guest = SmallGuests.Endless();
        AssertRestored(guest, ExitCodes.SignalBase + signal, terminal => terminal.Signal(signal));
    }

    [KvmFact]
    public void A_reboot_gives_the_terminal_back()
    {
        using TestGuest guest = SmallGuests.OnKey(SmallGuests.Reset);
        AssertRestored(guest, ExitCodes.Success, terminal => terminal.Type("r"));
    }

    [KvmFact]
    public void An_exit_with_a_code_gives_the_terminal_back()
    {
        using TestGuest guest = SmallGuests.OnKey(code => SmallGuests.Exit(code, 42));
        AssertRestored(guest, 42, terminal => terminal.Type("r"));
    }

    [KvmFact]
    public void A_crash_of_the_guest_gives_the_terminal_back()
    {
        using TestGuest guest = SmallGuests.OnKey(SmallGuests.Crash);
        string screen = AssertRestored(guest, ExitCodes.GuestCrashed, terminal => terminal.Type("r"));
        Assert.Contains("vmm: the guest crashed: ", screen, StringComparison.Ordinal);
    }

    [KvmFact]
    public void Ctrl_C_goes_to_the_guest_and_does_not_end_vmm()
    {
        using TestGuest guest = SmallGuests.OnKey(code =>
        {
            code.mov(AssemblerRegisters.dx, 0x3f8);
            code.@in(AssemblerRegisters.al, AssemblerRegisters.dx);
            code.@out(0xf4, AssemblerRegisters.al);
        });
        AssertRestored(guest, '\x03', terminal => terminal.Type("\x03"));
    }

    [KvmFact]
    public void Ctrl_A_twice_sends_one_to_the_guest_and_Ctrl_A_h_helps()
    {
        using TestGuest guest = SmallGuests.OnKey(code =>
        {
            code.mov(AssemblerRegisters.dx, 0x3f8);
            code.@in(AssemblerRegisters.al, AssemblerRegisters.dx);
            code.@out(0xf4, AssemblerRegisters.al);
        });
        string screen = AssertRestored(guest, '\x01', terminal =>
        {
            terminal.Type(VmmTerminal.ControlA + "h");
            terminal.Screen.WaitFor("Ctrl-A x   end vmm");
            terminal.Type(VmmTerminal.ControlA + VmmTerminal.ControlA);
        });
        Assert.Contains("this help", screen, StringComparison.Ordinal);
    }

    [Fact]
    public void A_mistake_on_the_command_line_leaves_the_terminal_alone()
    {
        using var terminal = new VmmTerminal("--kernel", "/nonexistent");
        (int code, string settings, string screen) = terminal.Finish();
        Assert.Equal(ExitCodes.Usage, code);
        Assert.Equal(terminal.SettingsBefore, settings);
        Assert.Equal("vmm: kernel /nonexistent: no such file or directory\r\n", screen);
    }

    private static string AssertRestored(TestGuest guest, int code, Action<VmmTerminal> end)
    {
        using var terminal = new VmmTerminal("--kernel", guest.Path, "--mem", "32M");
        terminal.Screen.WaitFor(SmallGuests.Ready.TrimEnd());
        Assert.NotEqual(terminal.SettingsBefore, terminal.Settings);
        end(terminal);
        (int ended, string settings, string screen) = terminal.Finish();
        Assert.True(code == ended, $"ended with {ended}, not {code}:\n{screen}");
        Assert.Equal(terminal.SettingsBefore, settings);
        return screen;
    }
}
