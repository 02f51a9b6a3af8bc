using Vmm.Named;

namespace Vmm.Tests.Named;

/// <summary>What is written down of a machine that no vmm runs.</summary>
internal static class TestRecord
{
    public static MachineRecord Of(string name, string runtime) => new()
    {
        Version = MachineRecord.CurrentVersion,
        Name = name,
        CommandLine = ["run", "-d", "--name", name],
        Directory = "/",
        HasAgent = true,
        Kernel = "/boot/vmlinuz",
        Memory = 256 << 20,
        Cpus = 1,
        StopTimeout = 90,
        Runtime = runtime,
        Created = DateTimeOffset.UtcNow,
    };
}
