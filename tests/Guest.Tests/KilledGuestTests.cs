using System.Text.RegularExpressions;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>vmm killed in mid-write, as when the host loses power but for what the host's kernel holds.</summary>
public sealed partial class KilledGuestTests
{
    private const int FilesBeforeTheKill = 12;

    // Sums of files that were synced are told; while that goes on, another process keeps the journal busy.
    private const string Script = """
        while :; do for i in 0 1 2 3; do dd if=/dev/zero of=/junk$i bs=1M count=4 2>/dev/null; done; done &
        n=0
        while n=$((n + 1)); do
            dd if=/dev/urandom of=/file$((n % 40)) bs=256k count=1 2>/dev/null
            sum=$(sha256sum </file$((n % 40)) | cut -d ' ' -f 1)
            sync
            echo "synced /file$((n % 40)) $sum"
        done

        """;

    [KvmFact]
    public void The_file_system_recovers_and_nothing_that_was_synced_is_lost()
    {
        using var folder = new TemporaryFolder();
        string root = folder.CopyOfRootfs();
        using VmmProcess vmm = VmmProcess.Start(
            "--kernel", Product.Vmlinux, "--disk", root, "--cmdline", "quiet " + GuestScript.Option(Script));
        for (int i = 0; i <= FilesBeforeTheKill; i++)
        {
            vmm.Output.WaitFor("synced ");
        }

        vmm.Signal(Signals.SIGKILL);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(ExitCodes.SignalBase + Signals.SIGKILL, ended.Code);

        (int code, string said) = HostTool.Run("e2fsck", "-p", root);
        Assert.True(code <= HostTool.Repaired, $"e2fsck -p ended with {code}:\n{said}");
        Assert.Contains("recovering journal", said, StringComparison.Ordinal);
        HostTool.AssertClean(root);
        MatchCollection synced = Synced().Matches(ended.Output);
        Assert.True(synced.Count >= FilesBeforeTheKill, ended.Output);
        foreach (Match file in synced.TakeLast(FilesBeforeTheKill))
        {
            Assert.Equal(file.Groups["sum"].Value, HostTool.Sha256InImage(root, file.Groups["path"].Value, folder["file"]));
        }
    }

    [GeneratedRegex("synced (?<path>/file[0-9]+) (?<sum>[0-9a-f]{64})", RegexOptions.ExplicitCapture)]
    private static partial Regex Synced();
}
