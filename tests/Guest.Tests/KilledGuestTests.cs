using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>vmm killed in mid-write, as when the host loses power but for what the host's kernel holds.</summary>
public sealed class KilledGuestTests
{
    private const string Script = """
        dd if=/dev/urandom of=/synced bs=1M count=8 2>/dev/null
        sync
        echo sha256=$(sha256sum /synced | cut -d ' ' -f 1)
        n=0
        while n=$((n + 1)); do dd if=/dev/zero of=/junk$((n % 4)) bs=1M count=4 2>/dev/null; echo "round $n done"; done

        """;

    [KvmFact]
    public void The_file_system_recovers_and_nothing_that_was_synced_is_lost()
    {
        using var folder = new TemporaryFolder();
        string root = folder.CopyOfRootfs();
        using VmmProcess vmm = VmmProcess.Start(
            "--kernel", Product.Vmlinux, "--disk", root, "--cmdline", "quiet " + GuestScript.Option(Script));
        string sum = GuestScript.Value(vmm.Output.WaitFor("round 3 done"), "sha256");
        vmm.Signal(Signals.SIGKILL);
        Assert.Equal(ExitCodes.SignalBase + Signals.SIGKILL, vmm.WaitForEnd().Code);

        (int code, string said) = HostTool.Run("e2fsck", "-p", root);
        Assert.True(code <= HostTool.Repaired, $"e2fsck -p ended with {code}:\n{said}");
        Assert.Contains("recovering journal", said, StringComparison.Ordinal);
        HostTool.AssertClean(root);
        Assert.Equal(sum, HostTool.Sha256InImage(root, "/synced", folder["synced"]));
    }
}
