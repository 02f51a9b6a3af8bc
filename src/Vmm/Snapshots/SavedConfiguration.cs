using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Snapshots;

/// <summary>The configuration of a saved machine, from which the same one can be made.</summary>
internal sealed record SavedConfiguration
{
    /// <summary>UTF-16 units of an option; longer than two paths.</summary>
    public const int MostOption = 16 * 1024;

    private const int MostAgent = 16 << 20;
    private const int MostDevices = 1024;
    private const int MostCpus = 4096;
    private const ulong MostMemory = 1UL << 46;

    /// <summary>For information: it is not opened again.</summary>
    public required string Kernel { get; init; }

    /// <summary>Bytes.</summary>
    public required ulong Memory { get; init; }

    public required int Cpus { get; init; }

    public required string CpuModel { get; init; }

    public required bool IsPci { get; init; }

    public required bool HasVirtioConsole { get; init; }

    public required bool SharesMemory { get; init; }

    public required bool Rng { get; init; }

    public required bool Balloon { get; init; }

    public required bool Packed { get; init; }

    public required IReadOnlyList<DiskRecord> Disks { get; init; }

    /// <summary>As they would be typed, each with its MAC address.</summary>
    public required IReadOnlyList<string> Nets { get; init; }

    /// <summary>As it would be typed; empty for none.</summary>
    public required string Vsock { get; init; }

    /// <inheritdoc cref="Nets"/>
    public required IReadOnlyList<string> Ports { get; init; }

    /// <inheritdoc cref="Nets"/>
    public IReadOnlyList<string> Shares { get; init; } = [];

    /// <summary>What vmm's agent in the guest needs (<see cref="IMachineGuest.Record"/>); empty where there is none.</summary>
    public string Agent { get; init; } = "";

    /// <param name="machine">Quiesced, with flushed disks.</param>
    public static SavedConfiguration Of(Machine machine)
    {
        MachineSpec spec = machine.Spec;
        return new SavedConfiguration
        {
            Kernel = spec.Kernel,
            Memory = spec.Memory,
            Cpus = spec.Cpus,
            CpuModel = spec.CpuModel.ToString(),
            IsPci = spec.Transport == Transport.Pci,
            HasVirtioConsole = spec.Console == ConsoleKind.Virtio,
            SharesMemory = spec.WantsSharedMemory,
            Rng = spec.Rng,
            Balloon = spec.Balloon,
            Packed = spec.Packed,
            Disks = [.. spec.Disks.Select(DiskRecord.Of)],
            Nets = [.. spec.Nets.Select((net, i) => OptionWords.Of(net, net.Mac ?? MacAddress.Derive(spec.Identity, i)))],
            Vsock = spec.Vsock is { } vsock ? OptionWords.Of(vsock) : "",
            Ports = [.. spec.Ports.Select(OptionWords.Of)],
            Shares = [.. spec.Shares.Select(OptionWords.Of)],
            Agent = machine.Guest?.Record ?? "",
        };
    }

    public void Write(StateWriter state)
    {
        state.Write("kernel", Kernel);
        state.Write("memory", Memory);
        state.Write("cpus", Cpus);
        state.Write("cpu", CpuModel);
        state.Write("pci", IsPci);
        state.Write("virtioConsole", HasVirtioConsole);
        state.Write("sharedMemory", SharesMemory);
        state.Write("rng", Rng);
        state.Write("balloon", Balloon);
        state.Write("packed", Packed);
        state.Write("disks", Disks, DiskRecord.Write);
        state.Write("nets", Nets, static (fields, option) => fields.Write("option", option));
        state.Write("vsock", Vsock);
        state.Write("ports", Ports, static (fields, option) => fields.Write("option", option));
        if (Shares.Count > 0)
        {
            state.Write("shares", Shares, static (fields, option) => fields.Write("option", option));
        }

        if (Agent.Length > 0)
        {
            state.Write("agent", Agent);
        }
    }

    public static SavedConfiguration Read(StateReader state)
    {
        var record = new SavedConfiguration
        {
            Kernel = state.String("kernel", MostOption),
            Memory = state.UInt64("memory", MachineSpec.MinimumMemory, MostMemory),
            Cpus = (int)state.UInt64("cpus", 1, MostCpus),
            CpuModel = state.String("cpu", MostOption),
            IsPci = state.Boolean("pci"),
            HasVirtioConsole = state.Boolean("virtioConsole"),
            SharesMemory = state.Boolean("sharedMemory"),
            Rng = state.Boolean("rng"),
            Balloon = state.Boolean("balloon"),
            Packed = state.Boolean("packed"),
            Disks = [.. state.List("disks", 0, MostDevices).Select(DiskRecord.Read)],
            Nets = Options(state, "nets"),
            Vsock = state.String("vsock", MostOption),
            Ports = Options(state, "ports"),
            Shares = state.Has("shares") ? Options(state, "shares") : [],
            Agent = state.Has("agent") ? state.String("agent", MostAgent) : "",
        };
        if (record.Memory % MemoryPage != 0)
        {
            throw state.Refuse("memory", "is no multiple of 4096");
        }

        state.End();
        return record;
    }

    private const ulong MemoryPage = 4096;

    /// <summary>The machine to make here.</summary>
    /// <param name="with">The user's replacements of the old host's names.</param>
    /// <exception cref="UsageException">The number of some devices differs, or an option is invalid.</exception>
    public MachineSpec ToSpec(Replacements with)
    {
        try
        {
            return new MachineSpec
            {
                Kernel = Kernel,
                Memory = Memory,
                Cpus = Cpus,
                CpuModel = Boot.CpuModel.Parse(CpuModel),
                Transport = IsPci ? Transport.Pci : Transport.Mmio,
                Console = HasVirtioConsole ? ConsoleKind.Virtio : ConsoleKind.Serial,
                WantsSharedMemory = SharesMemory,
                Rng = Rng,
                Balloon = Balloon,
                Packed = Packed,
                Disks = Replaced("--disk", [.. Disks.Select(static disk => DiskSpec.Parse(disk.Option))], with.Disks),
                Nets = ReplacedNets(with.Nets, with.Name),
                Vsock = ReplacedVsock(with.Vsock),
                Ports = PortSpec.Check(Replaced("--port", [.. Ports.Select(PortSpec.Parse)], with.Ports)),
                Shares = ReplacedShares(with.Shares),
                Name = with.Name,
            };
        }
        catch (CpuModelException error)
        {
            throw new UsageException(error.Message);
        }
    }

    private static string[] Options(StateReader state, string name) =>
    [
        .. state.List(name, 0, MostDevices).Select(static fields =>
        {
            string option = fields.String("option", MostOption);
            fields.End();
            return option;
        }),
    ];

    private static IReadOnlyList<T> Replaced<T>(string option, T[] saved, IReadOnlyList<T> given) =>
        given.Count == 0 ? saved
        : given.Count == saved.Length ? given
        : throw new UsageException($"{option}: given {given.Count} times, and the machine that was saved has {saved.Length}; replace all or none");

    /// <summary>A card keeps its address, which the guest's driver has read, unless the machine has another name now and an agent that
    /// tells its guest.</summary>
    private IReadOnlyList<NetSpec> ReplacedNets(IReadOnlyList<NetSpec> given, string? name)
    {
        NetSpec[] saved = [.. Nets.Select(NetSpec.Parse)];
        return
        [
            .. Replaced("--net", saved, given).Select((net, i) => net with
            {
                Mac = name is null || Agent.Length == 0 ? saved[i].Mac : MacAddress.Derive(name, i),
                Mtu = saved[i].Mtu,
            }),
        ];
    }

    /// <summary>Which one is replaced is told by its place in the guest, which is what the user knows of it.</summary>
    private ShareSpec[] ReplacedShares(IReadOnlyList<ShareSpec> given)
    {
        ShareSpec[] shares = [.. Shares.Select(static option => ShareSpec.Parse(option) with { IsRestored = true })];
        foreach (ShareSpec share in given)
        {
            int at = Array.FindIndex(shares, saved => saved.GuestPath == share.GuestPath);
            if (at < 0)
            {
                throw new UsageException($"--share {share.HostPath}:{share.GuestPath}: the machine that was saved has "
                    + (shares.Length == 0 ? "no shared directories" : $"none there, only {PrintableText.Of(string.Join(", ", shares.Select(static saved => saved.GuestPath)))}"));
            }

            shares[at] = shares[at] with { HostPath = share.HostPath, IsWritable = share.IsWritable };
        }

        return shares.Length == 0 ? shares : [.. ShareSpec.WithTags(shares)];
    }

    private VsockSpec? ReplacedVsock(VsockSpec? given)
    {
        if (Vsock.Length == 0)
        {
            return given is null ? null : throw new UsageException("--vsock: the machine that was saved has no such device");
        }

        return given ?? VsockSpec.Parse(Vsock);
    }
}

/// <summary>Names of this host that replace those with which a machine was saved.</summary>
internal sealed record Replacements
{
    public IReadOnlyList<DiskSpec> Disks { get; init; } = [];

    public IReadOnlyList<NetSpec> Nets { get; init; } = [];

    public VsockSpec? Vsock { get; init; }

    public IReadOnlyList<PortSpec> Ports { get; init; } = [];

    /// <summary>Each takes the place of the one that the guest has at the same path.</summary>
    public IReadOnlyList<ShareSpec> Shares { get; init; } = [];

    public string? Name { get; init; }
}
