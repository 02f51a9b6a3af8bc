using System.Text;
using Vmm.Boot.Tests;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>A bare-metal test kernel: it is started by multiboot, reports by the serial port and ends by the exit
/// port.</summary>
public sealed class MultibootGuestTests
{
    private static readonly string Words = "quick=1 brown";

    /// <summary>As QEMU and GRUB have it: the kernel's own name, then what the user gave, and none of Linux's words.</summary>
    [KvmTheory]
    [InlineData("elf")]
    [InlineData("flat")]
    [InlineData("in base memory")]
    public void A_multiboot_kernel_tells_what_it_was_given(string kind)
    {
        using var folder = new TemporaryFolder();
        string kernel = folder.Write("kernel", kind switch
        {
            "elf" => MultibootKernel.Elf(),
            "flat" => MultibootKernel.Flat(),
            _ => MultibootKernel.Flat(0x6000),
        });
        string module = folder.Write("module", Encoding.ASCII.GetBytes("first module"));
        VmmProcess.Ended ended = VmmProcess.Run(
            "--kernel", kernel, "--initrd", module, "--mem", "64M", "--cmdline", Words);

        Assert.Equal("", ended.Error);
        string[] lines = ended.Output.Split('\n');
        Assert.Equal("multiboot", lines[0]);
        Assert.Equal($"{kernel} {Words}", lines[1]);
        Assert.InRange(Convert.ToUInt32(lines[2], 16), 63u << 20, 64u << 20);
        Assert.Equal("first module", lines[3]);
        Assert.Equal(MultibootKernel.ExitWell, ended.Code);
    }
}
