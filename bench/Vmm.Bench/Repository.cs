using Vmm.Kvm;

namespace Vmm.Bench;

/// <summary>Where things are, and on what host.</summary>
internal static class Repository
{
    public static string Root { get; } = Find();

    /// <summary>The name of the folder for this kind of host, as scripts/lib.sh says it: <c>vt-x</c>, <c>amd-v</c>,
    /// <c>pvm</c>, <c>no-kvm</c>.</summary>
    public static string HostFolder { get; } = ((File.Exists("/dev/kvm") ? HostKinds.Detect() : HostKind.Unknown) switch
    {
        HostKind.VtX => "vt-x",
        HostKind.AmdV => "amd-v",
        HostKind.Pvm => "pvm",
        _ => "no-kvm",
    }) + (Environment.GetEnvironmentVariable("VMM_KVM_EMULATED") is null ? "" : "-emulated");

    public static string Results { get; } =
        Directory.CreateDirectory(Path.Combine(Root, "out", "bench", HostFolder)).FullName;

    /// <summary>One line that says where and when: a figure without it says nothing.</summary>
    public static string HostLine { get; } =
        $"Host: {HostFolder}, {ProcessorName()}, {Environment.ProcessorCount} CPUs, Linux {KernelRelease()}, "
        + $"{DateTime.UtcNow:yyyy-MM-dd}, load {LoadAverage()}.";

    private static string Find()
    {
        string? at = AppContext.BaseDirectory;
        while (at is not null && !File.Exists(Path.Combine(at, "Vmm.sln")))
        {
            at = Path.GetDirectoryName(at);
        }

        return at ?? throw new InvalidOperationException($"no Vmm.sln above {AppContext.BaseDirectory}");
    }

    private static string ProcessorName() => File.ReadLines("/proc/cpuinfo")
        .First(line => line.StartsWith("model name", StringComparison.Ordinal)).Split(':')[1].Trim();

    private static string KernelRelease() => File.ReadAllText("/proc/sys/kernel/osrelease").Trim();

    private static string LoadAverage() => File.ReadAllText("/proc/loadavg").Split(' ')[0];
}
