using Vmm.Cli;

namespace Vmm.Tests;

public sealed class EmulatedHostTests
{
    [Theory]
    [InlineData("--emulated --kernel K", null, true)]
    [InlineData("exits --kernel K --emulated", null, true)]
    [InlineData("--emulated check", null, true)]
    [InlineData("--kernel K", "1", true)]
    [InlineData("", "1", true)]
    [InlineData("--kernel K", null, false)]
    [InlineData("--kernel K", "", false)]
    [InlineData("--kernel K", "0", false)]
    [InlineData("--kernel K -- --emulated", null, false)]
    [InlineData("--emulated inspect K", null, false)]
    [InlineData("disk create a 1G", "1", false)]
    [InlineData("completion bash", "1", false)]
    [InlineData("[suggest:4] vmm", "1", false)]
    [InlineData("host stop", "1", false)]
    [InlineData("exits --help", "1", false)]
    [InlineData("--version --emulated", null, false)]
    public void Only_what_needs_KVM_goes_there(string line, string? variable, bool expected)
    {
        string[] args = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(expected, EmulatedHost.IsAskedFor(args, variable, inside: false));
        Assert.False(EmulatedHost.IsAskedFor(args, variable, inside: true));
    }

    [Theory]
    [InlineData("/usr/bin/vmm", "/usr/libexec/vmm/kvm-host/run", "/usr/libexec/vmm/kvm-host/run")]
    [InlineData("/src/out/vmm", "/src/firmware/kvm-host/run", "/src/firmware/kvm-host/run")]
    [InlineData("/src/out/artifacts/bin/Vmm/release/vmm", "/src/firmware/kvm-host/run", "/src/firmware/kvm-host/run")]
    [InlineData("/tmp/own/vmm", "/tmp/firmware/kvm-host/run", null)]
    [InlineData("/vmm", "/firmware/kvm-host/run", null)]
    public void Its_programs_are_found_beside_the_binary_or_in_the_checkout(string program, string there, string? expected) =>
        Assert.Equal(expected, EmulatedHost.FindScript(program, path => path == there));
}
