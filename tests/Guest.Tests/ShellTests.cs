using System.Globalization;
using System.Text.RegularExpressions;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Someone sits at the console of the reference guest.</summary>
public sealed partial class ShellTests : IDisposable
{
    private readonly GuestDisk _disk = new();

    public void Dispose() => _disk.Dispose();

    [KvmFact]
    public void A_shell_on_pipes_answers_and_a_reboot_ends_with_success()
    {
        using var vmm = RunningVmm.OnPipes(
            "--kernel", Paths.Kernel, "--disk", _disk.Image, "--mem", "1G", "--cpus", "2");
        vmm.WaitFor(RunningVmm.Prompt);

        Assert.Contains("42", vmm.Command("echo $((6 * 7))"), StringComparison.Ordinal);
        Assert.Matches(@"\n2\s", vmm.Command("nproc"));
        Assert.InRange(TotalKibibytes(vmm), 900 * 1024, 1024 * 1024);

        // A line longer than the serial port's queue arrives whole.
        string line = string.Concat(Enumerable.Range(1000, 200).Select(n => n.ToString(CultureInfo.InvariantCulture)));
        Assert.Contains("\n" + line, vmm.Command($"echo {line}").Replace("\r", "", StringComparison.Ordinal), StringComparison.Ordinal);

        vmm.Type("reboot -f\n");
        Assert.Equal(0, vmm.WaitForExit());
    }

    [KvmFact]
    public void A_terminal_types_interrupts_and_is_restored_after_a_reboot()
    {
        using var vmm = RunningVmm.OnTerminal(
            $"stty -g; {Paths.Vmm} --kernel {Paths.Kernel} --disk {_disk.Image} --mem 128M; echo code=$?; stty -g");
        vmm.WaitFor(RunningVmm.Prompt);

        Assert.Contains("\n42", vmm.Command("echo $((6 * 7))"), StringComparison.Ordinal);
        vmm.Type("echo starting; sleep 100000\n");
        vmm.WaitFor("\nstarting");
        vmm.Type("\x03");
        vmm.WaitFor(RunningVmm.Prompt);

        vmm.Type("reboot -f\n");
        Assert.Equal(0, vmm.WaitForExit());
        AssertRestored(vmm.Output);
    }

    [KvmFact]
    public void Control_a_x_ends_the_machine_and_restores_the_terminal()
    {
        using var vmm = RunningVmm.OnTerminal(
            $"stty -g; {Paths.Vmm} --kernel {Paths.Kernel} --disk {_disk.Image} --mem 128M; echo code=$?; stty -g");
        vmm.WaitFor(RunningVmm.Prompt);
        vmm.Type("\x01x");
        Assert.Equal(0, vmm.WaitForExit());
        AssertRestored(vmm.Output);
    }

    [KvmFact]
    public void Memory_above_the_hole_below_4_gib_is_usable()
    {
        using var vmm = RunningVmm.OnPipes("--kernel", Paths.Kernel, "--disk", _disk.Image, "--mem", "6G");
        vmm.WaitFor(RunningVmm.Prompt);
        Assert.InRange(TotalKibibytes(vmm), 5800 * 1024, 6 * 1024 * 1024);
        vmm.Type("reboot -f\n");
        Assert.Equal(0, vmm.WaitForExit());
    }

    private static int TotalKibibytes(RunningVmm vmm)
    {
        Match total = MemTotal().Match(vmm.Command("grep MemTotal /proc/meminfo"));
        Assert.True(total.Success);
        return int.Parse(total.Groups[1].ValueSpan, CultureInfo.InvariantCulture);
    }

    // stty -g printed the settings before and after; between them stands vmm's exit code.
    private static void AssertRestored(string output)
    {
        MatchCollection settings = SttySettings().Matches(output);
        Assert.Contains("code=0", output, StringComparison.Ordinal);
        Assert.True(settings.Count == 2, output);
        Assert.Equal(settings[0].Value, settings[1].Value);
    }

    [GeneratedRegex(@"MemTotal:\s+(\d+) kB")]
    private static partial Regex MemTotal();

    [GeneratedRegex("(?:[0-9a-f]+:){20,}[0-9a-f]+")]
    private static partial Regex SttySettings();
}
