using Vmm.Machines;
using Vmm.Run.Cache;
using Vmm.Run.Results;
using Vmm.Run.Roots;
using Vmm.Snapshots.Forks;

namespace Vmm.Run;

/// <summary>The options of <c>vmm run</c>, checked as far as that is possible without files and the host.</summary>
internal sealed record RunOptions
{
    /// <summary>The machine, without the devices that run adds to it.</summary>
    public required MachineSpec Machine { get; init; }

    /// <summary>The command and its arguments; at least one word.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary><c>NAME=VALUE</c>, each name once.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>Names of those that come from vmm's own environment (<c>--env NAME</c>).</summary>
    public IReadOnlyList<string> Inherited { get; init; } = [];

    public string? User { get; init; }

    /// <summary>Where the command starts, in the guest; null for /.</summary>
    public string? Directory { get; init; }

    public string Hostname { get; init; } = "vmm";

    public required RunRoot Root { get; init; }

    /// <summary>Files of the kernel's modules that the guest loads first, in this order.</summary>
    public IReadOnlyList<string> Modules { get; init; } = [];

    /// <summary>Is there a root file system other than the initramfs?</summary>
    public bool HasRoot => Root.Kind != RootKind.Busybox;

    /// <summary>Are the changes to it kept, so that the guest has to write everything before it ends?</summary>
    public bool KeepsRoot => Root.Keep is not null;

    /// <summary>Give the command a terminal.</summary>
    public bool Terminal { get; init; }

    /// <summary>How long the command may take; null for ever.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>How long the boot may take until the agent runs; null for the default of the kind of host.</summary>
    public TimeSpan? BootTimeout { get; init; }

    /// <summary>Show the kernel's console on standard error.</summary>
    public bool ShowConsole { get; init; }

    /// <summary>Exit codes of virtme-ng: 255 for a panic.</summary>
    public bool VirtmeCodes { get; init; }

    /// <summary>Boot, even where a machine is in the cache that has.</summary>
    public bool IsCold { get; init; }

    /// <summary>How many machines that have booted alike are kept.</summary>
    public CacheEntries CacheEntries { get; init; } = new();

    /// <summary>The machine goes on from a copy of another one that ran the same; null for one of its own.</summary>
    public ForkImage? Fork { get; init; }

    public RunReports Reports { get; init; } = new();

    /// <summary>Print a profile of the exits.</summary>
    public bool HasProfile { get; init; }

    /// <summary>The file for the profile; null for standard error.</summary>
    public string? Profile { get; init; }

    /// <summary>The file for trace events; null for none.</summary>
    public string? Trace { get; init; }

    /// <summary>When vmm was started, as a Stopwatch timestamp.</summary>
    public long Exec { get; init; }
}
