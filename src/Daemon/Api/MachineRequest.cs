namespace Vmm.Daemon.Api;

/// <summary>A machine that is to be made and started. With a command it is one of <c>vmm run</c>, which has an agent and ends with the
/// command; without, one that boots a kernel from its disks. Paths are absolute, and vmmd's host's.</summary>
internal sealed record MachineRequest
{
    /// <summary>1 to 63 of a-z, 0-9, '-', '_' and '.', the first a letter or a digit.</summary>
    public required string Name { get; init; }

    /// <summary>A file, or a name, as 'host' or one of 'vmm kernel list'. Needed without a command.</summary>
    public string? Kernel { get; init; }

    /// <summary>Added to the kernel's command line.</summary>
    public string? KernelCommandLine { get; init; }

    /// <summary>Bytes, or a number with K, M or G; 256M if not given.</summary>
    public string? Memory { get; init; }

    /// <summary>Virtual CPUs; 1 if not given.</summary>
    public int? Cpus { get; init; }

    /// <summary>Time each exit of the guest, by device: for the statistics and the metrics. It costs some 0.1 microseconds an exit.</summary>
    public bool? Profile { get; init; }

    public IReadOnlyList<string>? Initrds { get; init; }

    public IReadOnlyList<MachineDisk>? Disks { get; init; }

    public IReadOnlyList<MachineNetwork>? Networks { get; init; }

    public IReadOnlyList<MachineShare>? Shares { get; init; }

    /// <summary>What to do when it ends by itself: no, always, on-failure, on-failure:N.</summary>
    public string? Restart { get; init; }

    /// <summary>The program and its arguments.</summary>
    public IReadOnlyList<string>? Command { get; init; }

    /// <summary>With a command: the guest's root file system: a directory, a disk image, a tar archive, or 'none' for busybox alone.
    /// vmmd's host's own / if not given, read-only; only vmmd's own user may have that.</summary>
    public string? Root { get; init; }

    /// <summary>With a command: its variables.</summary>
    public IReadOnlyDictionary<string, string>? Environment { get; init; }

    /// <summary>With a command: who runs it, by name or number; root if not given.</summary>
    public string? User { get; init; }

    /// <summary>With a command: where it starts, in the guest.</summary>
    public string? WorkingDirectory { get; init; }

    /// <summary>With a command: the guest's host name.</summary>
    public string? Hostname { get; init; }
}

/// <summary>A disk image, /dev/vda and so on in the guest.</summary>
internal sealed record MachineDisk
{
    public required string Path { get; init; }

    public bool ReadOnly { get; init; }

    /// <summary>What the guest writes vanishes with it.</summary>
    public bool Ephemeral { get; init; }

    /// <summary>raw or qcow2; by the path's end if not given.</summary>
    public string? Format { get; init; }
}

/// <summary>A network card, eth0 and so on in the guest.</summary>
internal sealed record MachineNetwork
{
    /// <summary>user (through passt), or tap, which only vmmd's own user may have.</summary>
    public required string Mode { get; init; }

    /// <summary>Of tap: the interface.</summary>
    public string? Tap { get; init; }

    /// <summary>Of user: ports of the host that lead into the guest, as 8080:80 or 127.0.0.1:8080:80.</summary>
    public IReadOnlyList<string>? Publish { get; init; }

    public string? Mac { get; init; }
}

/// <summary>A directory of vmmd's host for the guest.</summary>
internal sealed record MachineShare
{
    public required string Path { get; init; }

    /// <summary>Where it is mounted in the guest.</summary>
    public required string MountAt { get; init; }

    public bool Writable { get; init; }
}
