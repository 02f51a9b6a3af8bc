using Vmm.Kvm;

namespace Vmm.Tests.Kvm;

public sealed class MissingKvmTests : IDisposable
{
    private readonly string _modules = Directory.CreateTempSubdirectory("vmm-modules").FullName;

    public void Dispose() => Directory.Delete(_modules, recursive: true);

    [Theory]
    [InlineData("kvm kvm_intel", true, false, "--device /dev/kvm")]
    [InlineData("kvm", true, false, "modprobe kvm_intel")]
    [InlineData("", false, true, "modprobe kvm_amd")]
    [InlineData("kvm kvm_pvm", false, false, "is a PVM guest")]
    [InlineData("kvm kvm_pvm device", false, false, "the kernel has KVM, so this is a container or chroot without the device: start it with --device /dev/kvm")]
    [InlineData("", false, false, "in the firmware, or ask your cloud")]
    public void What_to_do_depends_on_why_there_is_none(string modules, bool hasVtX, bool hasAmdV, string expected)
    {
        foreach (string module in modules.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            Directory.CreateDirectory(Path.Combine(_modules, module));
        }

        string remedy = MissingKvm.Remedy(hasVtX, hasAmdV, _modules, Path.Combine(_modules, "device"));
        Assert.Contains(expected, remedy, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', remedy);
    }
}
