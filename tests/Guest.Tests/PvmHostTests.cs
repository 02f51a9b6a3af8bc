using System.Globalization;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Vmm.Guest.Tests.Harness;

namespace Vmm.Guest.Tests;

/// <summary>Linux where each instruction of its kernel is KVM's to emulate and vmm's to finish: on a host that treats
/// guests as a PVM host does (docs/hosts.md). QEMU makes it, whatever this machine is.</summary>
public sealed class PvmHostTests
{
    /// <summary>What the boot and its script needed when this was written, without those of timer interrupts: 3,340. A STAC
    /// or an address of PCI configuration more each time shows; a page fault does not.</summary>
    private const int MostExits = 4200;

    [PvmHostFact]
    public void Linux_boots_unchanged_reads_and_writes_disks_runs_programs_and_ends_by_its_own_exit_code()
    {
        const string Script = """
            echo read=$(sha256sum </dev/vdb)
            cat /dev/vdb >/root/copy; sync; echo 3 >/proc/sys/vm/drop_caches
            echo reread=$(sha256sum </root/copy)
            echo third=$(awk 'BEGIN { print 1 / 3 }')
            sleep 0.2; sh -c 'kill -9 $$'; echo killed=$?
            echo ticks=$(awk '/LOC:/ { print $2 }' /proc/interrupts)
            exit 7
            """;
        using var folder = new TemporaryFolder();
        byte[] data = RandomNumberGenerator.GetBytes(256 << 10);
        File.WriteAllBytes(folder["data"], data);
        (int code, string said) = HostTool.Run(
            "sh", "-c", "exec \"$@\" </dev/null", "sh", Product.KvmHost, "--pvm", "--timeout", "600", "--",
            Product.Vmm, "--kernel", Product.BzImage, "--mem", "64M", "--disk", Product.Rootfs + ",ephemeral",
            "--disk", folder["data"] + ",readonly", "--cmdline", "quiet " + GuestScript.Option(Script), "--stats");
        Assert.True(code == 7, $"ended with {code}: {said}");
        string sum = Convert.ToHexStringLower(SHA256.HashData(data));
        Assert.StartsWith(sum, GuestScript.Value(said, "read"), StringComparison.Ordinal);
        Assert.StartsWith(sum, GuestScript.Value(said, "reread"), StringComparison.Ordinal);
        Assert.Equal("0.333333", GuestScript.Value(said, "third"));
        Assert.Equal("137", GuestScript.Value(said, "killed"));

        // The host was what it should be, and each way round an exit was taken. A timer interrupt costs one, for its CLAC; how
        // many there are is a matter of how fast this machine is.
        int ticks = int.Parse(GuestScript.Value(said, "ticks"), CultureInfo.InvariantCulture);
        Assert.InRange(Counted(said, "exits", "to user space") - ticks, 1000, MostExits);
        foreach (string assisted in (string[])["clac+stac", "between stac and clac", "syscall", "xrstor64", "int3"])
        {
            Assert.True(Counted(said, "", assisted) > 0, assisted);
        }

        Assert.InRange(Counted(said, "posted", "writes to ports"), 400, int.MaxValue);
        Assert.DoesNotContain("popcnt", said, StringComparison.Ordinal);
    }

    private static int Counted(string stats, string before, string after)
    {
        Match found = Regex.Match(stats, $"(?m)^{before} +([0-9]+) {Regex.Escape(after)}");
        Assert.True(found.Success, $"no {before} {after} in:\n{stats}");
        return int.Parse(found.Groups[1].Value, CultureInfo.InvariantCulture);
    }
}
