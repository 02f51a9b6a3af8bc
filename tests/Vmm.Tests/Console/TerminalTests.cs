using Tmds.Linux;
using Vmm.Backends.Console;
using Vmm.Guest.Tests.Harness;
using Vmm.Host;

namespace Vmm.Tests.Console;

/// <summary>On a terminal that is not the process's own: nobody else has it in the foreground. What job control changes is
/// in Guest.Tests/JobControlTests.</summary>
public sealed unsafe class TerminalTests
{
    [Fact]
    public void Raw_mode_comes_and_goes_any_number_of_times()
    {
        using var pty = new PseudoTerminal();
        using FileDescriptor fd = FileDescriptor.Open(pty.Path, LibC.O_RDWR | LibC.O_NOCTTY);
        using Terminal terminal = Terminal.TryOpen(fd.Number)!;
        string before = pty.Settings;
        Assert.True(terminal.IsInForeground);
        terminal.Restore();
        Assert.Equal(before, pty.Settings);
        for (int i = 0; i < 3; i++)
        {
            Assert.True(terminal.Take());
            string raw = pty.Settings;
            Assert.NotEqual(before, raw);
            Assert.True(terminal.Take());
            Assert.Equal(raw, pty.Settings);
            terminal.Restore();
            terminal.Restore();
            Assert.Equal(before, pty.Settings);
        }
    }

    [Fact]
    public void Settings_that_were_changed_meanwhile_are_kept()
    {
        using var pty = new PseudoTerminal();
        using FileDescriptor fd = FileDescriptor.Open(pty.Path, LibC.O_RDWR | LibC.O_NOCTTY);
        using Terminal terminal = Terminal.TryOpen(fd.Number)!;
        terminal.Take();
        terminal.Restore();
        termios settings;
        Assert.Equal(0, LibC.tcgetattr(fd.Number, &settings));
        settings.c_lflag ^= LibC.TOSTOP;
        Assert.Equal(0, LibC.tcsetattr(fd.Number, (int)LibC.TCSANOW, &settings));
        string changed = pty.Settings;
        terminal.Take();
        terminal.Restore();
        Assert.Equal(changed, pty.Settings);
    }

    [Fact]
    public void What_is_no_terminal_is_none()
    {
        using FileDescriptor file = FileDescriptor.Open("/dev/null", LibC.O_RDWR);
        Assert.Null(Terminal.TryOpen(file.Number));
    }
}
