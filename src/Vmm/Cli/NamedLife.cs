using System.Buffers.Binary;
using Vmm.Backends.Sockets;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Run;
using Vmm.Snapshots.Forks;

namespace Vmm.Cli;

/// <summary>A machine with a name that this process runs.</summary>
/// <param name="ForkName">The name of one that was forked; null for one that was not.</param>
/// <param name="Fork">What it goes on from; null where it boots.</param>
/// <param name="MostForks">How many forks its guest may ask for; null where there is no port for that. A fork has the port, and may ask for
/// none: else one guest could fill the host.</param>
internal sealed record NamedLife(BackgroundMachine Life, string? ForkName, ForkImage? Fork, int? MostForks = null)
{
    /// <summary>The machine with what is its own. One that was forked has the command line of another one, with which it must share no
    /// name of the host: it writes to no file of that one, its sockets are beside its control socket, and no port of the host leads into it.</summary>
    public MachineSpec For(MachineSpec spec)
    {
        string control = Life.ControlPath;
        if (ForkName is null && spec.Control is { } given)
        {
            // There is one socket; its name leads to where the user wants it.
            File.CreateSymbolicLink(control, Path.GetFullPath(given));
            control = given;
        }

        spec = spec with { Control = control, MostForks = MostForks is null || ForkName is null ? MostForks : 0 };
        if (ForkName is null)
        {
            return spec;
        }

        string directory = Path.GetDirectoryName(Life.ControlPath)!;
        return spec with
        {
            Name = ForkName,
            Disks = ForkWriter.OfForks(spec).Disks,
            Vsock = spec.Vsock is null ? null : new VsockSpec(Path.Combine(directory, "vsock"), AnyCid()),
            Ports = [.. spec.Ports.Select(port => port with { Path = Path.Combine(directory, $"port-{port.Name}") })],
            Nets = [.. spec.Nets.Select(static net => net with { Mac = null, Published = [] })],
        };
    }

    /// <inheritdoc cref="For(MachineSpec)"/>
    public RunOptions For(RunOptions options) => ForkName is null
        ? options with { Machine = For(options.Machine), IsCold = options.IsCold || !Life.IsForeground }
        : options with
        {
            Machine = For(options.Machine),
            Hostname = ForkName,
            Fork = Fork,
            Reports = options.Reports with { Result = null, JUnit = null, Log = null, Bundle = null },
            HasProfile = false,
            Profile = null,
            Trace = null,
        };

    private static uint AnyCid()
    {
        Span<byte> random = stackalloc byte[sizeof(uint)];
        SystemRandom.Fill(random);
        return Math.Max(BinaryPrimitives.ReadUInt32LittleEndian(random) >> 1, VsockSpec.LeastCid);
    }
}
