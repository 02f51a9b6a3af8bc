using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>What a Linux with <c>quiet</c> on its command line leaves untold, vmm tells.</summary>
public sealed class VerdictGuestTests
{
    private const string Script = """
        dd if=/dev/zero of=/dev/vdb bs=64k count=64 oflag=direct 2>/dev/null
        echo dd=$?
        exit 5
        """;

    [KvmFact]
    public void A_panic_ends_with_a_code_of_its_own_and_the_reason()
    {
        VmmProcess.Ended ended = VmmProcess.Run(
            "--kernel", Product.Vmlinux, "--mem", "64M", "--disk", Product.Rootfs + ",ephemeral",
            "--cmdline", "quiet init=/bin/false");
        Assert.Equal(ExitCodes.GuestPanicked, ended.Code);
        OneLine.AssertIs("the guest's kernel panicked: Attempted to kill init! exitcode=0x00000100", ended.Error);
    }

    [KvmFact]
    public void A_full_disk_of_the_host_is_told_at_once_and_at_the_end()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["small"]);
        string full = folder["small/full.img"];
        using VmmProcess vmm = VmmProcess.StartAmongMounts(
            $"mount -t tmpfs -o size=1M none {folder["small"]} && truncate -s 16M {full}",
            "--kernel", Product.Vmlinux, "--mem", "64M", "--disk", Product.Rootfs + ",ephemeral", "--disk", full,
            "--cmdline", "quiet " + GuestScript.Option(Script));
        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal("1", GuestScript.Value(ended.Output, "dd"));
        Assert.Equal(5, ended.Code);
        string[] said = ended.Error.TrimEnd('\n').Split('\n');
        Assert.True(said.Length == 2, ended.Error);
        Assert.Equal($"vmm: {full}: cannot be written: No space left on device: the guest gets I/O errors", said[0]);
        Assert.Matches(@"full\.img: [0-9]+ I/O errors?, the last one: ", said[1]);
    }
}
