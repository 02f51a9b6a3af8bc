using Vmm.Cli;

namespace Vmm.Tests;

public sealed class EmulatedHostTests
{
    [Theory]
    [InlineData("--emulated --kernel K", null, "Host")]
    [InlineData("exits --kernel K --emulated", null, "Host")]
    [InlineData("--emulated check", null, "Host")]
    [InlineData("--kernel K", "1", "Host")]
    [InlineData("", "1", "Host")]
    [InlineData("--kernel K", null, "NotAsked")]
    [InlineData("--kernel K", "", "NotAsked")]
    [InlineData("--kernel K", "0", "NotAsked")]
    [InlineData("--kernel K -- --emulated", null, "NotAsked")]
    [InlineData("--emulated inspect K", null, "Here")]
    [InlineData("disk create a 1G", "1", "Here")]
    [InlineData("completion bash", "1", "Here")]
    [InlineData("[suggest:4] vmm", "1", "Here")]
    [InlineData("host stop", "1", "Here")]
    [InlineData("exits --help", "1", "Here")]
    [InlineData("--version --emulated", null, "Here")]
    [InlineData("run --emulated -d --name db", null, "WarmHost")]
    [InlineData("run --detach -- sleep 9", "1", "WarmHost")]
    [InlineData("run -- sh -d", "1", "Host")]
    [InlineData("--kernel K -d disk.img", "1", "Host")]
    [InlineData("--emulated --detach --kernel K", null, "WarmHost")]
    [InlineData("start db", "1", "WarmHost")]
    [InlineData("restart -t 1s db", "1", "WarmHost")]
    [InlineData("ps -a", "1", "WithMachines")]
    [InlineData("exec db -- sh", "1", "WithMachines")]
    [InlineData("cp a db:/tmp", "1", "WithMachines")]
    [InlineData("rm -f db", "1", "WithMachines")]
    [InlineData("fork db -n 2", "1", "WithMachines")]
    [InlineData("inspect db", "1", "WithMachines")]
    [InlineData("exec db", null, "NotAsked")]
    public void What_needs_KVM_goes_there_and_what_is_about_machines_where_they_run(string line, string? variable, string expected)
    {
        string[] args = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(expected, EmulatedPlaces.Of(args, variable, inside: false, static name => name == "db").ToString());
        Assert.Equal(EmulatedPlace.NotAsked, EmulatedPlaces.Of(args, variable, inside: true, static name => name == "db"));
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
