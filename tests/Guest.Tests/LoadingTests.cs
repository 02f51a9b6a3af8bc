using System.Globalization;
using System.Text.RegularExpressions;
using Vmm.Boot.Inspect;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

public sealed partial class LoadingTests
{
    /// <summary>The payload is unpacked where the kernel goes: beside it there are only the packed bytes and vmm.</summary>
    [KvmFact]
    public void Unpacking_takes_less_memory_than_twice_the_kernel()
    {
        using VmmProcess vmm = VmmProcess.Start(
            "--kernel", Product.BzImage, "--mem", "128M", "--stats", "--cmdline", "earlyprintk=serial,ttyS0");
        vmm.Output.WaitFor("Linux version");
        vmm.Signal(Signals.SIGTERM);        // nobody listens to the power button yet: this ends it
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Match said = Peak().Match(ended.Error);
        Assert.True(said.Success, ended.Error);
        double peak = double.Parse(said.Groups["mib"].Value, CultureInfo.InvariantCulture) * (1 << 20);
        long unpacked = KernelInspector.Inspect(Product.BzImage).UnpackedSize!.Value;
        Assert.InRange(peak, unpacked, 2.0 * unpacked);
        Assert.Matches(@"(?m)^boot +[0-9.]+ ms to load the guest: [0-9.]+ ms unpacking, [0-9.]+ ms relocating, ", ended.Error);
    }

    [GeneratedRegex("(?<mib>[0-9.]+) MiB in all at most before the first instruction", RegexOptions.ExplicitCapture)]
    private static partial Regex Peak();
}
