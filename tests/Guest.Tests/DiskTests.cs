using System.Text.RegularExpressions;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>What the guest wrote to its virtio disk, seen from the host.</summary>
public sealed partial class DiskTests : IDisposable
{
    private readonly GuestDisk _disk = new();

    public void Dispose() => _disk.Dispose();

    [KvmFact]
    public void Random_data_through_ext4_is_intact_on_the_host_and_the_scripts_status_is_the_exit_code()
    {
        string script = _disk.WriteScript("""
            set -e
            echo "processors: $(nproc)"
            dd if=/dev/urandom of=/root/data bs=1M count=64 2>/dev/null
            echo "written: $(sha256sum </root/data)"
            exit 42
            """);
        using var vmm = RunningVmm.OnPipes(
            "--kernel", Paths.Kernel, "--disk", _disk.Image, "--disk", script + ",readonly", "--mem", "256M",
            "--cpus", "4", "--cmdline", "vmm.run=/dev/vdb");

        Assert.Equal(42, vmm.WaitForExit());
        Assert.Contains("processors: 4", vmm.Output, StringComparison.Ordinal);
        string written = Written().Match(vmm.Output).Groups[1].Value;
        Tool.MustRun("e2fsck", "-f", "-n", _disk.Image);
        Assert.Equal(written, _disk.HashOf("/root/data"));
    }

    [KvmFact]
    public void Nothing_synced_is_lost_when_vmm_is_killed_while_the_guest_writes()
    {
        string script = _disk.WriteScript("""
            i=0
            while [ $i -lt 1000 ]; do
                dd if=/dev/urandom of=/root/f$((i % 60)).$i bs=256k count=1 2>/dev/null
                hash=$(sha256sum </root/f$((i % 60)).$i)
                sync
                echo "synced: /root/f$((i % 60)).$i $hash"
                i=$((i + 1))
                if [ $i -gt 60 ]; then rm /root/f$(((i - 61) % 60)).$((i - 61)); fi
            done
            """);
        using var vmm = RunningVmm.OnPipes(
            "--kernel", Paths.Kernel, "--disk", _disk.Image, "--disk", script + ",readonly", "--mem", "128M",
            "--cmdline", "vmm.run=/dev/vdb");
        for (int files = 0; files < 20; files++)
        {
            vmm.WaitFor("synced: ");
        }

        vmm.Kill();
        vmm.WaitForExit();

        // 1: errors were corrected, which is what a journal is for; 2 and more: something is left to mend.
        (int code, string report) = Tool.Run("e2fsck", "-p", _disk.Image);
        Assert.True(code is 0 or 1, report);
        Tool.MustRun("e2fsck", "-f", "-n", _disk.Image);
        MatchCollection synced = Synced().Matches(vmm.Output);
        Assert.InRange(synced.Count, 20, 1000);
        foreach (Match file in synced.TakeLast(40))
        {
            Assert.Equal(file.Groups[2].Value, _disk.HashOf(file.Groups[1].Value));
        }
    }

    [GeneratedRegex("written: ([0-9a-f]{64})")]
    private static partial Regex Written();

    [GeneratedRegex(@"synced: (/root/\S+) ([0-9a-f]{64})")]
    private static partial Regex Synced();
}
