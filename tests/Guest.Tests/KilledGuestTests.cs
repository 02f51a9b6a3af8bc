using System.Globalization;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>vmm killed in mid-write, as when the host loses power but for what the host's kernel holds.</summary>
public sealed partial class KilledGuestTests
{
    private const int FilesBeforeTheKill = 12;
    private const int Piece = 256 << 10, Pieces = 40;

    // Files that were synced are told; while that goes on, another process keeps the journal busy. Each file is another
    // piece of vdb, which holds random bytes: making them up would take an emulated kernel seconds.
    private const string Script = """
        while :; do for i in 0 1 2 3; do dd if=/dev/zero of=/junk$i bs=64k count=4 2>/dev/null; done; done &
        n=0
        while n=$((n + 1)); do
            dd if=/dev/vdb of=/file$((n % 40)) bs=256k skip=$((n % 40)) count=1 iflag=direct 2>/dev/null
            sync
            echo "synced /file $((n % 40))"
        done

        """;

    [KvmFact]
    public void The_file_system_recovers_and_nothing_that_was_synced_is_lost()
    {
        using var folder = new TemporaryFolder();
        string root = folder.CopyOfRootfs();
        byte[] random = RandomNumberGenerator.GetBytes(Piece * Pieces);
        using VmmProcess vmm = VmmProcess.Start(
            "--kernel", Product.Vmlinux, "--disk", root, "--disk", folder.Write("random.img", random) + ",readonly",
            "--cmdline", "quiet " + GuestScript.Option(Script));
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
            int number = int.Parse(file.Groups["number"].Value, CultureInfo.InvariantCulture);
            string sum = Convert.ToHexStringLower(SHA256.HashData(random.AsSpan(number * Piece, Piece)));
            Assert.Equal(sum, HostTool.Sha256InImage(root, $"/file{number}", folder["file"]));
        }
    }

    [GeneratedRegex("synced /file (?<number>[0-9]+)", RegexOptions.ExplicitCapture)]
    private static partial Regex Synced();
}
