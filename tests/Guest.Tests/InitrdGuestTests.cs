using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Vmm.Boot;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Linux from a bzImage and an initramfs, with more memory than fits below the hole, a disk behind
/// virtio-mmio, and pipes at the console; booted once.</summary>
public sealed class InitrdGuestTests : IDisposable
{
    private const int InputLength = 20 << 10;

    // Linux is to use little of it, a piece above 4 GiB included: setting up 6 GiB takes an emulated kernel minutes. The
    // kernel stays where it was linked, within these pieces.
    private const string Pieces = "memmap=exactmap memmap=640K@0 memmap=63M@1M memmap=192M@4G";

    private const string Init = """
        #!/bin/busybox sh
        /bin/busybox --install -s /bin
        mount -t proc proc /proc
        mount -t sysfs sys /sys
        mount -t devtmpfs dev /dev
        dmesg | grep 'BIOS-e820: .mem 0x0000000100000000'
        echo memory=$(awk '/MemTotal/ { print $2 }' /proc/meminfo)
        for i in 1 2 3 4 5; do dd if=/dev/vda of=/dev/null bs=4k count=256 iflag=direct 2>/dev/null; done
        stty -echo
        echo listening=yes
        echo digest=$(sha256sum)

        """;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [KvmFact(MemoryGib = 7)]
    public void An_initrd_boots_sees_6_GiB_reads_all_its_input_and_powers_off()
    {
        string initrd = _folder.Write("initrd", Archive());
        using VmmProcess vmm = VmmProcess.Start(
            "--kernel", Product.BzImage, "--initrd", initrd, "--mem", "6G", "--transport", "mmio", "--stats",
            "--disk", _folder.WriteSparse("disk", 1 << 20) + ",readonly", "--no-kaslr", "--cmdline", "quiet " + Pieces);
        vmm.Output.WaitFor("listening=yes");
        string input = Lines();
        vmm.Type(input);
        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();

        Assert.True(ended.Code == ExitCodes.Success, ended.Output + ended.Error);
        Assert.Contains("[mem 0x0000000100000000-0x00000001bfffffff] usable", ended.Output, StringComparison.Ordinal);
        long kib = long.Parse(GuestScript.Value(ended.Output, "memory"), CultureInfo.InvariantCulture);
        Assert.InRange(kib, 192 << 10, 256 << 10);
        string digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(input)));
        Assert.Equal(digest + " -", GuestScript.Value(ended.Output, "digest"));
        AssertOnlyAcknowledgements(ended);
    }

    /// <summary>Notifications go by ioeventfd and completions by irqfd: what is left is to read and to acknowledge the
    /// interrupt, two accesses each (virtio 1.2, 4.2.2: InterruptStatus, InterruptACK).</summary>
    private static void AssertOnlyAcknowledgements(VmmProcess.Ended ended)
    {
        const int SetUp = 300;
        long requests = long.Parse(GuestScript.Value(ended.Output, "requests"), CultureInfo.InvariantCulture);
        long interrupts = long.Parse(GuestScript.Value(ended.Output, "interrupts"), CultureInfo.InvariantCulture);
        Assert.True(requests > 4 * SetUp, ended.Output);
        Assert.InRange(Figures.VirtioAccesses(ended.Error), interrupts, (2 * interrupts) + SetUp);
    }

    private static byte[] Archive()
    {
        using var archive = new CpioArchive();
        archive.Directory("bin").Directory("dev").Directory("proc").Directory("sys")
            .Device("dev/console", 5, 1)
            .Program("bin/busybox", File.ReadAllBytes(Busybox()))
            .Program("init", Encoding.UTF8.GetBytes(Init + GuestScript.CountRequests + "poweroff -f\n"));
        return archive.Finish().ToArray();
    }

    /// <summary>busybox-static, out of the root file system that it was put into.</summary>
    private static string Busybox()
    {
        string scratch = Path.GetTempFileName();
        (_, string said) = HostTool.Run("debugfs", "-R", $"dump /bin/busybox {scratch}", Product.Rootfs);
        Assert.True(new FileInfo(scratch).Length > 0, said);
        return scratch;
    }

    /// <summary>Digits from a fixed seed, in lines that fit the buffer of the guest's terminal (4096 bytes).</summary>
    private static string Lines()
    {
        var random = new Random(2);
        var text = new StringBuilder(InputLength);
        while (text.Length < InputLength)
        {
            text.Append(CultureInfo.InvariantCulture, $"{random.NextInt64():x16}{random.NextInt64():x16}\n");
        }

        return text.ToString();
    }
}
