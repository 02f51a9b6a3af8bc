using System.Buffers.Binary;
using Vmm.Backends.Sockets;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Run;
using Vmm.Snapshots.Forks;

namespace Vmm.Cli;

/// <summary>A machine with a name that this process runs in the background.</summary>
/// <param name="ForkName">The name of one that was forked; null for one that was not.</param>
/// <param name="Fork">What it goes on from; null where it boots.</param>
internal sealed record NamedLife(BackgroundMachine Life, string? ForkName, ForkImage? Fork)
{
    /// <summary>The machine with what is its own. One that was forked has the command line of another one, with which it must share no
    /// name of the host: its sockets are beside its control socket, and no port of the host leads into it.</summary>
    public MachineSpec For(MachineSpec spec)
    {
        spec = spec with { Control = Life.ControlPath };
        if (ForkName is null)
        {
            return spec;
        }

        string directory = Path.GetDirectoryName(Life.ControlPath)!;
        return spec with
        {
            Name = ForkName,
            Vsock = spec.Vsock is null ? null : new VsockSpec(Path.Combine(directory, "vsock"), AnyCid()),
            Ports = [.. spec.Ports.Select(port => port with { Path = Path.Combine(directory, $"port-{port.Name}") })],
            Nets = [.. spec.Nets.Select(static net => net with { Mac = null, Published = [] })],
        };
    }

    /// <inheritdoc cref="For(MachineSpec)"/>
    public RunOptions For(RunOptions options) => ForkName is null
        ? options with { Machine = For(options.Machine) }
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
