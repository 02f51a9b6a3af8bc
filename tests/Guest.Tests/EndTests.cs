using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Other ways out.</summary>
public sealed class EndTests : IDisposable
{
    private readonly GuestDisk _disk = new();

    public void Dispose() => _disk.Dispose();

    [KvmFact]
    public void A_shell_that_ends_with_its_input_takes_the_machine_down_with_a_clean_disk()
    {
        using var vmm = RunningVmm.OnPipes("--kernel", Paths.Kernel, "--disk", _disk.Image, "--mem", "64M");
        vmm.WaitFor(RunningVmm.Prompt);
        vmm.Type("echo kept >/root/file; exit\n");
        Assert.Equal(0, vmm.WaitForExit());
        Tool.MustRun("e2fsck", "-f", "-n", _disk.Image);
        Assert.Equal("kept\n", Tool.Run("debugfs", "-R", "cat /root/file", _disk.Image).Output.Split('\n')[^2] + "\n");
    }
}
