using System.Globalization;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Runs of <c>vmm run</c> that go on from where another had booted.</summary>
public sealed class BootCacheTests
{
    // The last is how often the guest's kernel was told of a new generation ID (ACPI's event 5): those that go on from another wait for it.
    private const string Script = "echo $(dmesg | grep -m1 'as init process') $(grep -m1 ' _text$' /proc/kallsyms); cat /proc/sys/kernel/random/uuid; date +%s; hostname; echo $A; pwd; cat; "
        + "echo; head -c 16 /dev/urandom | od -An -tx8; cd /sys/firmware/acpi/interrupts; "
        + "while read n rest < gpe05 && test $n -lt $F; do sleep 0.1; done; echo $n; exit 3";

    /// <summary>A line of the kernel's log tells to the microsecond when process 1 began: two that are the same are of one boot. So is where
    /// the kernel lies (KASLR): each entry has what its boot drew, which KernelUnpackerTests.Two_boots_differ shows to differ.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void The_second_run_does_not_boot_and_has_its_own_clock_numbers_and_surroundings()
    {
        using var folder = new TemporaryFolder();
        string[] first = Finish(Start(folder.Path, "one", "/tmp"), "hello");
        VmmProcess again = Start(folder.Path, "two", "/", forked: true), beside = Start(folder.Path, "three", "/root", forked: true);
        string[] second = Finish(again, "once more"), third = Finish(beside, "beside");
        Assert.Equal(["one", "one", "/tmp", "hello"], first[3..7]);
        Assert.Equal(["two", "two", "/", "once more"], second[3..7]);
        Assert.Equal(["three", "three", "/root", "beside"], third[3..7]);
        Assert.Matches("ffffffff[0-9a-f]{8} T _text$", first[0]);
        Assert.Equal([first[0], first[0]], [second[0], third[0]]);
        Assert.Equal(3, new[] { first[1], second[1], third[1] }.Distinct().Count());
        Assert.Equal(3, new[] { first[7], second[7], third[7] }.Distinct().Count());
        Assert.Equal(["0", "1", "1"], [first[8], second[8], third[8]]);
        long now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        Assert.InRange(long.Parse(second[2], CultureInfo.InvariantCulture), now - 60, now + 1);

        // One that is damaged is booted anew, and nothing is said.
        string entry = Assert.Single(Directory.GetDirectories(Path.Combine(folder.Path, "vmm", "boots")));
        string state = Path.Combine(entry, "state.json");
        byte[] bytes = File.ReadAllBytes(state);
        bytes[bytes.Length / 2] ^= 4;
        File.WriteAllBytes(state, bytes);
        string[] fourth = Finish(Start(folder.Path, "four", "/"), "anew");
        Assert.NotEqual(first[0], fourth[0]);
        string[] fifth = Finish(Start(folder.Path, "five", "/", forked: true), "and on");
        Assert.Equal(fourth[0], fifth[0]);
        Assert.Single(Directory.GetDirectories(Path.Combine(folder.Path, "vmm", "boots")));
    }

    /// <summary>A guest has some of its disks in its memory: it goes on only where they are as they were, and what another run wrote to
    /// them is not there.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_run_from_images_goes_on_until_one_of_them_changes()
    {
        const string Script = "dmesg | grep -m1 'as init process'; head -c 4 /dev/vdb; echo; ls /made; echo x >/made; printf gone >/dev/vdb; sync";
        using var folder = new TemporaryFolder();
        string root = folder["root.img"], disk = folder["disk.img"];
        File.Copy(Product.Rootfs, root);
        File.WriteAllBytes(disk, [.. "old "u8, .. new byte[65532]]);
        Thread.Sleep(50);       // until their times are settled: what changed in the last 20 ms is not kept
        string[] Run()
        {
            using var vmm = VmmProcess.StartInShell(
                $"export XDG_CACHE_HOME={folder.Path}; exec \"$@\"",
                "run", "--kernel", Product.Vmlinux, "-m", "64M", "--root", root, "--disk", $"{disk},ephemeral", "--", "sh", "-c", Script);
            vmm.CloseInput();
            VmmProcess.Ended ended = vmm.WaitForEnd();
            Assert.Equal(0, ended.Code);
            return ended.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        }

        string[] first = Run(), second = Run();
        Assert.Equal("old ", first[1]);
        Assert.Equal(first, second);
        Assert.Equal(2, first.Length);
        using (FileStream file = File.OpenWrite(disk))
        {
            file.Write("new "u8);
        }

        string[] third = Run();
        Assert.NotEqual(first[0], third[0]);
        Assert.Equal("new ", third[1]);
    }

    private static VmmProcess Start(string cache, string name, string directory, bool forked = false) => VmmProcess.StartInShell(
        $"export XDG_CACHE_HOME={cache}; exec \"$@\"",
        "run", "--kernel", Product.Vmlinux, "-m", "64M", "--root", "none", "--hostname", name, "--env", $"A={name}", "--env", $"F={(forked ? 1 : 0)}", "--workdir", directory, "--", "sh", "-c", Script);

    private static string[] Finish(VmmProcess vmm, string input)
    {
        using (vmm)
        {
            vmm.Type(input);
            vmm.CloseInput();
            VmmProcess.Ended ended = vmm.WaitForEnd();
            Assert.Equal((3, ""), (ended.Code, ended.Error));
            return ended.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        }
    }
}
