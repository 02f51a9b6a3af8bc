using Vmm.Machines;

namespace Vmm.Run;

/// <summary>What <c>vmm run</c> was asked for, checked as far as that goes without looking at files or the host.</summary>
internal sealed record RunOptions
{
    /// <summary>The machine, without what run adds to it.</summary>
    public required MachineOptions Machine { get; init; }

    /// <summary>The command and its arguments; at least one word.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary><c>NAME=VALUE</c>, each name once.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    public string? User { get; init; }

    /// <summary>Where the command starts, in the guest; null for /.</summary>
    public string? Directory { get; init; }

    public string Hostname { get; init; } = "vmm";

    /// <summary>Is the root file system the first of the machine's disks? Else it is the initramfs.</summary>
    public bool RootIsDisk { get; init; }

    /// <summary>The tag of the share that is the root file system, under an overlay in memory; null for none.</summary>
    public string? RootTag { get; init; }

    /// <summary>Is there a root file system other than the initramfs?</summary>
    public bool HasRoot => RootIsDisk || RootTag is not null;

    /// <summary>Are the changes to it kept, so that the guest has to write everything before it ends?</summary>
    public bool KeepsRoot { get; init; }

    /// <summary>Give the command a terminal.</summary>
    public bool Terminal { get; init; }

    /// <summary>How long the command may take; null for ever.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>How long the guest may take to reach the agent; null for what suits the kind of host.</summary>
    public TimeSpan? BootTimeout { get; init; }

    /// <summary>Show the kernel's console on standard error.</summary>
    public bool ShowConsole { get; init; }

    /// <summary>Exit codes as virtme-ng has them: 255 for a panic.</summary>
    public bool VirtmeCodes { get; init; }
}
