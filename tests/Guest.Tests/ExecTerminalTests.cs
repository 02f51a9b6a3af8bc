using System.Diagnostics;
using Vmm.Control;
using Vmm.Guest.Tests.Harness;

namespace Vmm.Guest.Tests;

/// <summary><c>vmm exec -it</c> and <c>vmm attach</c> on a terminal, and where nobody reads them any more; the machine is a pretended
/// one, so this needs no KVM.</summary>
public sealed class ExecTerminalTests : IDisposable
{
    private const string ControlC = "\x03", ControlP = "\x10", ControlQ = "\x11";

    private readonly TemporaryFolder _folder = new();
    private readonly PretendMachine _machine;

    public ExecTerminalTests() => _machine = new PretendMachine(_folder["c.sock"]);

    public void Dispose()
    {
        _machine.Dispose();
        _folder.Dispose();
    }

    /// <summary>Keys go to the command as they are, echo and Ctrl-C included, whose terminal has this one's size.</summary>
    [Fact]
    public void A_command_has_the_terminal_and_gives_it_back()
    {
        using var terminal = new VmmTerminal("exec", "-it", _folder["c.sock"], "--", "sh", "-l");
        ExecArguments asked = OpenExec();
        Assert.True(asked.Tty);
        Assert.Equal(["sh", "-l"], asked.Args);
        Assert.Contains(asked.Env, static each => each.StartsWith("TERM=", StringComparison.Ordinal));
        _machine.Output("prompt# ");
        terminal.Screen.WaitFor("prompt# ");
        Assert.NotEqual(terminal.SettingsBefore, terminal.Settings);

        terminal.Type("ls\r");
        Assert.Equal("ls\r", _machine.HearInput(3));
        terminal.Type(ControlC);
        Assert.Equal(ControlC, _machine.HearInput(1));
        terminal.Type(ControlP + ControlQ);     // a shell's own keys: only attach leaves by them
        Assert.Equal(ControlP + ControlQ, _machine.HearInput(2));
        terminal.Resize(33, 111);
        ResizeArguments size;
        do
        {
            size = _machine.Hear("resize", ControlJson.Default.ResizeArguments);        // the first tells the size that it began with
        }
        while (size.Rows != 33);
        Assert.Equal(111, size.Columns);

        _machine.Output("bye\r\n");
        _machine.Exited("exit", 7);
        (int code, string settings, string screen) = terminal.Finish();
        Assert.Equal((7, terminal.SettingsBefore), (code, settings));
        Assert.Equal("prompt# bye\r\n", screen);        // nothing was echoed here
    }

    [Fact]
    public void A_machine_that_ends_gives_the_terminal_back()
    {
        using var terminal = new VmmTerminal("exec", "-it", _folder["c.sock"], "--", "sh");
        OpenExec();
        _machine.Output("prompt# ");
        terminal.Screen.WaitFor("prompt# ");
        _machine.HangUp();
        (int code, string settings, string screen) = terminal.Finish();
        Assert.Equal((125, terminal.SettingsBefore), (code, settings));
        Assert.Contains("the machine has ended", screen, StringComparison.Ordinal);
    }

    /// <summary>Once is the command's; three times within a second leaves a command that does not listen.</summary>
    [Fact]
    public void Three_times_Ctrl_C_leaves_a_command()
    {
        using var terminal = new VmmTerminal("exec", "-it", _folder["c.sock"], "--", "sh");
        OpenExec();
        _machine.Output("prompt# ");
        terminal.Screen.WaitFor("prompt# ");
        terminal.Type(ControlC + ControlC + ControlC);
        (int code, string settings, _) = terminal.Finish();
        Assert.Equal((128 + Signals.SIGINT, terminal.SettingsBefore), (code, settings));
    }

    [Fact]
    public void A_console_is_left_by_its_keys()
    {
        using var terminal = new VmmTerminal("attach", _folder["c.sock"]);
        OpenConsole();
        _machine.Output("login: ");
        terminal.Screen.WaitFor("login: ");
        terminal.Type("root" + ControlP);
        Assert.Equal("root", _machine.HearInput(4));
        terminal.Type("x" + ControlP + ControlQ);
        Assert.Equal(ControlP + "x", _machine.HearInput(2));
        (int code, string settings, string screen) = terminal.Finish();
        Assert.Equal((0, terminal.SettingsBefore, "login: "), (code, settings, screen));
    }

    /// <summary>As <c>vmm attach db | head -n 1</c>: a console that says nothing more would not tell.</summary>
    [Fact]
    public void A_console_is_left_when_its_reader_goes()
    {
        using var process = Process.Start(new ProcessStartInfo(Product.Vmm, ["attach", "--no-stdin", _folder["c.sock"]]) { RedirectStandardOutput = true })!;
        OpenConsole();
        _machine.Output("one line\n");
        Assert.Equal("one line", process.StandardOutput.ReadLine());
        process.StandardOutput.Dispose();
        Assert.True(process.WaitForExit(Product.Patience));
        Assert.Equal(0, process.ExitCode);
    }

    private ExecArguments OpenExec()
    {
        _machine.Accept();
        ControlRequest request = _machine.Hear("exec");
        _machine.Open(request);
        return System.Text.Json.JsonSerializer.Deserialize(request.Arguments!.Value, ControlJson.Default.ExecArguments)!;
    }

    private void OpenConsole()
    {
        _machine.Accept();
        _machine.Open(_machine.Hear("console"));
    }
}
