using System.Globalization;
using System.Text.RegularExpressions;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>The reference kernel by every way in, and the clean ways out. (The uncompressed kernel at its 64-bit entry
/// is what <see cref="ScriptedGuest"/> boots.)</summary>
public sealed partial class WaysToBootTests
{
    private const ulong LinkedAt = 0xffff_ffff_8100_0000, LoadedAt = 0x100_0000;

    private const string Tell = """
        echo text=$(grep -m 1 ' _text$' /proc/kallsyms | cut -d ' ' -f 1)
        echo code=$(grep 'Kernel code' /proc/iomem | cut -d - -f 1)
        echo acpi=$(ls /sys/firmware | grep -c acpi)
        echo transport=$(basename $(readlink -f $(readlink -f /sys/block/vda/device)/../driver))
        echo complaints=$(dmesg | grep -cE 'ACPI( BIOS)? (Error|Warning|Exception)')
        echo written >/root/proof

        """;

    [KvmFact]
    public void Two_boots_of_a_bzImage_that_vmm_unpacks_lie_elsewhere_and_poweroff_and_SIGTERM_both_end_clean()
    {
        using var folder = new TemporaryFolder();
        string first = folder.CopyOfRootfs("first.img"), second = folder.CopyOfRootfs("second.img");
        VmmProcess.Ended off = VmmProcess.Run(
            "--kernel", Product.BzImage, "--disk", first, "--mem", "128M", "--stats",
            "--cmdline", "quiet " + GuestScript.Option(Tell + "poweroff; sleep 1000\n"));
        AssertEndedClean(off, first);
        Assert.Equal("virtio-pci", GuestScript.Value(off.Output, "transport"));

        using VmmProcess vmm = VmmProcess.Start(
            "--kernel", Product.BzImage, "--disk", second, "--mem", "128M", "--stats", "--transport", "mmio",
            "--cmdline", "quiet " + GuestScript.Option(Tell + "echo ready=yes; sleep 1000\n"));
        vmm.Output.WaitFor("ready=yes");
        vmm.Signal(Signals.SIGTERM);
        VmmProcess.Ended told = vmm.WaitForEnd();
        AssertEndedClean(told, second);
        Assert.Equal("virtio-mmio", GuestScript.Value(told.Output, "transport"));

        Assert.NotEqual(BasesAsTold(off), BasesAsTold(told));
    }

    [KvmFact]
    public void A_bzImage_that_unpacks_itself_boots_without_ACPI_from_a_disk_on_mmio()
    {
        using var folder = new TemporaryFolder();
        string root = folder.CopyOfRootfs();
        VmmProcess.Ended ended = VmmProcess.Run(
            "--kernel", Product.BzImage, "--no-unpack", "--disk", root, "--mem", "128M", "--transport", "mmio",
            "--stats", "--cmdline", "quiet acpi=off " + GuestScript.Option(Tell + "poweroff; sleep 1000\n"));
        AssertEndedClean(ended, root);
        Assert.Equal("virtio-mmio", GuestScript.Value(ended.Output, "transport"));
        Assert.Equal("0", GuestScript.Value(ended.Output, "acpi"));
        Assert.DoesNotContain("unpacked by vmm", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_vmlinux_at_its_PVH_entry_boots_without_ACPI_from_a_disk_on_pci()
    {
        using var folder = new TemporaryFolder();
        string root = folder.CopyOfRootfs();
        VmmProcess.Ended ended = VmmProcess.Run(
            "--kernel", Product.Vmlinux, "--entry", "pvh", "--disk", root, "--mem", "128M",
            "--cmdline", "quiet acpi=off " + GuestScript.Option(Tell + "poweroff; sleep 1000\n"));
        AssertEndedClean(ended, root);
        Assert.Equal("virtio-pci", GuestScript.Value(ended.Output, "transport"));
        Assert.Equal("0", GuestScript.Value(ended.Output, "acpi"));
        Assert.Equal(LinkedAt, Number(ended, "text"));
        Assert.Equal(LoadedAt, Number(ended, "code"));
    }

    private static void AssertEndedClean(VmmProcess.Ended ended, string root)
    {
        Assert.True(ended.Code == ExitCodes.Success, $"{ended.Code}:\n{ended.Output}{ended.Error}");
        Assert.Equal("0", GuestScript.Value(ended.Output, "complaints"));
        HostTool.AssertClean(root);
        (_, string proof) = HostTool.Run("debugfs", "-R", "cat /root/proof", root);
        Assert.Contains("written", proof, StringComparison.Ordinal);
    }

    /// <summary>What --stats says of where vmm put the kernel; asserts that the guest's kernel says the same.</summary>
    private static (ulong Physical, ulong Virtual) BasesAsTold(VmmProcess.Ended ended)
    {
        Match told = Bases().Match(ended.Error);
        Assert.True(told.Success, ended.Error);
        ulong physical = Hexadecimal(told.Groups["physical"].Value), offset = Hexadecimal(told.Groups["offset"].Value);
        Assert.Equal(LinkedAt + offset, Number(ended, "text"));
        Assert.Equal(physical, Number(ended, "code"));
        return (physical, offset);
    }

    private static ulong Number(VmmProcess.Ended ended, string name) => Hexadecimal(GuestScript.Value(ended.Output, name));

    private static ulong Hexadecimal(string digits) =>
        ulong.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    [GeneratedRegex("KASLR .*: physical 0x(?<physical>[0-9a-f]+), virtual offset 0x(?<offset>[0-9a-f]+)", RegexOptions.ExplicitCapture)]
    private static partial Regex Bases();
}
