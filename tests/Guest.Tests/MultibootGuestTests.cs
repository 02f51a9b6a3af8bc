using System.Text;
using Vmm.Boot.Tests;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>A bare-metal test kernel: it is started by multiboot, reports by the serial port and ends by the exit
/// port.</summary>
public sealed class MultibootGuestTests
{
    [KvmTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_multiboot_kernel_tells_what_it_was_given(bool isElf)
    {
        using var folder = new TemporaryFolder();
        string kernel = folder.Write("kernel", isElf ? MultibootKernel.Elf() : MultibootKernel.Flat());
        string module = folder.Write("module", Encoding.ASCII.GetBytes("first module"));
        VmmProcess.Ended ended = VmmProcess.Run(
            "--kernel", kernel, "--initrd", module, "--mem", "64M", "--cmdline-only", "--cmdline", "quick=1 brown");

        Assert.Equal("", ended.Error);
        string[] lines = ended.Output.Split('\n');
        Assert.Equal("multiboot", lines[0]);
        Assert.EndsWith("quick=1 brown", lines[1], StringComparison.Ordinal);
        Assert.InRange(Convert.ToUInt32(lines[2], 16), 63u << 20, 64u << 20);
        Assert.Equal("first module", lines[3]);
        Assert.Equal(MultibootKernel.ExitWell, ended.Code);
    }
}
