using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>The command of the README: a shell on a terminal.</summary>
public sealed class ShellTests
{
    [KvmFact]
    public void Typing_and_reboot_work_in_an_interactive_shell_with_two_CPUs()
    {
        using var folder = new TemporaryFolder();
        using VmmTerminal terminal = Boot(folder, "--mem", "1G", "--cpus", "2");
        terminal.Type("echo $((6 * 7)) $(nproc)" + VmmTerminal.Enter);
        terminal.Screen.WaitFor("echo $((6 * 7)) $(nproc)");
        terminal.Screen.WaitFor("42 2");
        terminal.Screen.WaitFor(GuestScript.Prompt);

        // Ctrl-C is the guest's, and its job control's: while the shell still edits the line it would be a mere key, and
        // between two commands the shell's own. So the job says itself that it is there.
        terminal.Type("sh -c \"echo sleep''ing; exec sleep 1000\"" + VmmTerminal.Enter);
        terminal.Screen.WaitFor("sleeping");
        terminal.Type("\x03");
        terminal.Screen.WaitFor(GuestScript.Prompt);

        terminal.Type("reboot -f" + VmmTerminal.Enter);
        (int code, string settings, string screen) = terminal.Finish();
        Assert.True(code == ExitCodes.Success, screen);
        Assert.Equal(terminal.SettingsBefore, settings);
    }

    [KvmFact]
    public void Ctrl_A_h_helps_and_Ctrl_A_x_leaves_the_shell_behind()
    {
        using var folder = new TemporaryFolder();
        using VmmTerminal terminal = Boot(folder, "--mem", "64M");
        terminal.Type(VmmTerminal.ControlA + "h");
        terminal.Screen.WaitFor("Ctrl-A x   end vmm and the guest with it");
        terminal.Type("echo still $((1 + 1)) here" + VmmTerminal.Enter);
        terminal.Screen.WaitFor("still 2 here");
        terminal.Type(VmmTerminal.ControlA + "x");
        (int code, string settings, string screen) = terminal.Finish();
        Assert.True(code == ExitCodes.Success, screen);
        Assert.Equal(terminal.SettingsBefore, settings);
    }

    [KvmFact]
    public void Commands_piped_in_all_run_and_the_end_of_input_ends_the_shell()
    {
        using var folder = new TemporaryFolder();
        string root = folder.CopyOfRootfs();
        using VmmProcess vmm = VmmProcess.Start("--kernel", Product.Vmlinux, "--disk", root, "--cmdline", "quiet");
        const int Commands = 100;
        for (int i = 0; i < Commands; i++)
        {
            vmm.Type($"echo sum{i}=$((1000 + {i}))\n");
        }

        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == ExitCodes.Success, ended.Output + ended.Error);
        for (int i = 0; i < Commands; i++)
        {
            Assert.Equal($"{1000 + i}", GuestScript.Value(ended.Output, $"sum{i}"));
        }

        HostTool.AssertClean(root);
    }

    private static VmmTerminal Boot(TemporaryFolder folder, params IEnumerable<string> options)
    {
        var terminal = new VmmTerminal(
            ["--kernel", Product.BzImage, "--disk", folder.CopyOfRootfs(), .. options]);
        terminal.Screen.WaitFor(GuestScript.Prompt);
        Assert.NotEqual(terminal.SettingsBefore, terminal.Settings);
        return terminal;
    }
}
