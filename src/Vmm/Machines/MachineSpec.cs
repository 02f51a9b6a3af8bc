using System.Globalization;
using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Machines;

/// <summary>The specification of one machine as plain data, from the command line, a file, or a program. Checked as far as that
/// is possible without files and the host.</summary>
internal sealed record MachineSpec
{
    public const ulong MinimumMemory = 32UL << 20;
    public const ulong DefaultMemory = 256UL << 20;

    /// <summary>As long as systemd gives a service (DefaultTimeoutStopSec).</summary>
    public const int DefaultStopSeconds = 90;
    public static readonly TimeSpan DefaultStopTimeout = TimeSpan.FromSeconds(DefaultStopSeconds);

    public required string Kernel { get; init; }

    public IReadOnlyList<string> Initrds { get; init; } = [];

    /// <summary>What the user gave with --cmdline; null where nothing.</summary>
    public string? CommandLine { get; init; }

    /// <summary>The user's command line replaces the default instead of being added to it.</summary>
    public bool CommandLineOnly { get; init; }

    /// <summary>Bytes; a multiple of 4096, at least <see cref="MinimumMemory"/>.</summary>
    public ulong Memory { get; init; } = DefaultMemory;

    public int Cpus { get; init; } = 1;

    public IReadOnlyList<DiskSpec> Disks { get; init; } = [];

    public IReadOnlyList<NetSpec> Nets { get; init; } = [];

    /// <summary>Sockets between the guest and the host; null for none.</summary>
    public VsockSpec? Vsock { get; init; }

    /// <summary>Streams of bytes between programs of the guest and of the host.</summary>
    public IReadOnlyList<PortSpec> Ports { get; init; } = [];

    /// <summary>Where Linux has its console.</summary>
    public ConsoleKind Console { get; init; } = ConsoleKind.Serial;

    /// <summary>Directories of the host that the guest can mount; each has its tag.</summary>
    public IReadOnlyList<ShareSpec> Shares { get; init; } = [];

    /// <summary>Unix sockets at which other programs serve disks, by vhost-user.</summary>
    public IReadOnlyList<string> ServedDisks { get; init; } = [];

    /// <summary>Unix sockets at which other programs serve networks, by vhost-user.</summary>
    public IReadOnlyList<string> ServedNets { get; init; } = [];

    /// <summary>Other programs can map the guest's memory: the user wants it, or a device needs it.</summary>
    public bool SharesMemory => WantsSharedMemory || HasOtherPrograms;

    /// <summary>The specification for restoring a machine that was saved.</summary>
    public MachineSpec ForRestore() => this with { Shares = [.. Shares.Select(static share => share with { IsRestored = true })] };

    /// <summary>Do other programs serve some of its devices, and have part of their state?</summary>
    public bool HasOtherPrograms => Shares.Count > 0 || ServedDisks.Count > 0 || ServedNets.Count > 0;

    /// <summary>The guest's memory is a file (memfd) even where no device needs it.</summary>
    public bool WantsSharedMemory { get; init; }

    /// <summary>The machine's name; null for none.</summary>
    public string? Name { get; init; }

    /// <summary>Path of the control socket; null for none.</summary>
    public string? Control { get; init; }

    /// <summary>How many forks the guest may ask for in all; null for no <see cref="Vmm.Devices.Legacy.ForkPort"/>. Needs <see
    /// cref="Control"/>.</summary>
    public int? MostForks { get; init; }

    /// <summary>What MAC addresses are derived from: the name, or the path of the first disk, because a machine is known by
    /// its disk.</summary>
    public string Identity => Name ?? (Disks.Count > 0 ? Path.GetFullPath(Disks[0].Path) : "vmm");

    /// <summary>Give the guest the host's random numbers as a device (virtio-rng).</summary>
    public bool Rng { get; init; }

    /// <summary>Give the guest a memory balloon: what it does not use goes back to the host.</summary>
    public bool Balloon { get; init; }

    /// <summary>Offer the guest packed rings beside split ones (VIRTIO_F_RING_PACKED).</summary>
    public bool Packed { get; init; }

    public Transport Transport { get; init; } = Transport.Pci;

    public CpuModel CpuModel { get; init; } = CpuModel.Host;

    public EntryProtocol Entry { get; init; } = EntryProtocol.Auto;

    /// <summary>Unpack a bzImage on the host.</summary>
    public bool Unpack { get; init; } = true;

    /// <summary>Randomize the addresses of a kernel that vmm unpacks.</summary>
    public bool Kaslr { get; init; } = true;

    public RebootAction OnReboot { get; init; } = RebootAction.End;

    /// <summary>How long the guest may take to shut down once its power button was pressed; zero for as long as it
    /// likes.</summary>
    public TimeSpan StopTimeout { get; init; } = DefaultStopTimeout;

    /// <summary>Print figures about the run at its end.</summary>
    public bool Stats { get; init; }

    /// <exception cref="UsageException">It is no size, or too little.</exception>
    public static ulong ParseMemory(string text)
    {
        ulong bytes = ByteSize.Parse(text, "--mem");
        if (bytes < MinimumMemory)
        {
            // QEMU's -m counts MiB.
            string megabytes = char.IsAsciiDigit(text[^1]) && bytes is > 0 and < 1 << 20
                ? $"; a number alone is bytes: did you mean {text}M?"
                : "";
            throw new UsageException(
                $"--mem {text}: too little to boot in; give at least {ByteSize.Format(MinimumMemory)}{megabytes}");
        }

        return bytes % 4096 == 0
            ? bytes
            : throw new UsageException($"--mem {text}: not a multiple of 4K");
    }

    /// <exception cref="UsageException">It is empty.</exception>
    public static string CheckName(string name) =>
        name.Length > 0 ? name : throw new UsageException("--name: an empty name; give one, or leave the option out");

    /// <exception cref="UsageException">It is neither on nor off.</exception>
    public static bool ParseSwitch(string text, string option) => text switch
    {
        "on" => true,
        "off" => false,
        _ => throw new UsageException($"{option}={text}: there are on and off"),
    };

    /// <exception cref="UsageException">It is no number, or less than one.</exception>
    public static int ParseCpus(string text)
    {
        if (!int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int count))
        {
            throw new UsageException($"--cpus {text}: not a number; write for instance --cpus 2");
        }

        return count >= 1 ? count : throw new UsageException($"--cpus {text}: a machine has at least one");
    }
}

/// <summary>How virtio devices are shown to the guest: <c>--transport</c>.</summary>
internal enum Transport
{
    Pci,
    Mmio,
}

/// <summary>The guest's console: <c>--console</c>.</summary>
internal enum ConsoleKind
{
    /// <summary>ttyS0, COM1.</summary>
    Serial,

    /// <summary>hvc0, of virtio-console.</summary>
    Virtio,
}

/// <summary>What a reset by the guest leads to (--on-reboot).</summary>
internal enum RebootAction
{
    /// <summary>The machine ends, with success.</summary>
    End,

    /// <summary>The machine starts again, any number of times.</summary>
    Restart,

    /// <summary>The machine ends, with an exit code of its own.</summary>
    Fail,
}
