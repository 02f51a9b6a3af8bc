using System.Buffers.Binary;
using System.Text;
using Vmm.Backends.Agent;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;

namespace Vmm.Run;

/// <summary>What a guest is told that goes on from a saved state, before anything else is done in it: others may go on from the same
/// state, and it is later than when it was saved. The boot cache, 'vmm restore' and forks all tell it here.</summary>
/// <remarks>The generation ID is not part of it: loading a state renews that (<see cref="Vmm.Devices.Acpi.GenerationId"/>), for guests
/// without an agent, too.</remarks>
internal sealed record FreshIdentity
{
    private const int MachineIdBytes = 16, MostHostname = 64;

    /// <summary>For a guest that is to be the one that was saved: it gets the time of day and random numbers of its own, and no more.
    /// </summary>
    public static FreshIdentity Same { get; } = new();

    /// <summary>Set the guest's time of day to the host's.</summary>
    public bool SetsClock { get; init; } = true;

    /// <summary>Null where it stays.</summary>
    public string? Hostname { get; init; }

    /// <summary>32 hexadecimal digits for /etc/machine-id, where the guest has one. Null where it stays.</summary>
    public string? MachineId { get; init; }

    /// <summary>Addresses of network cards that the guest knows, and those that they get.</summary>
    public IReadOnlyList<(ReadOnlyMemory<byte> From, ReadOnlyMemory<byte> To)> Cards { get; init; } = [];

    /// <summary>For a guest that goes on under a name of its own.</summary>
    /// <param name="name">Of the machine; also the guest's host name.</param>
    /// <param name="cards">All of the machine, after the state was loaded.</param>
    public static FreshIdentity Named(string name, IEnumerable<VirtioNet> cards)
    {
        Span<byte> random = stackalloc byte[MachineIdBytes];
        SystemRandom.Fill(random);
        return new FreshIdentity
        {
            Hostname = name.Replace('_', '-')[..Math.Min(name.Length, MostHostname)],
            MachineId = Convert.ToHexStringLower(random),
            Cards = [.. cards.Where(static card => !card.SavedMac.IsEmpty).Select(static card => (card.SavedMac, card.Mac))],
        };
    }

    /// <summary>Sets the guest's time of day to the host's: a kernel without a driver for the RTC would be in 1970.</summary>
    public static void SendClock(AgentSession session)
    {
        Span<byte> clock = stackalloc byte[16];
        (long seconds, long ticks) = Math.DivRem((DateTime.UtcNow - DateTime.UnixEpoch).Ticks, TimeSpan.TicksPerSecond);
        BinaryPrimitives.WriteInt64LittleEndian(clock, seconds);
        BinaryPrimitives.WriteInt64LittleEndian(clock[8..], ticks * 100);
        session.Tell(AgentFrameType.Clock, clock);
    }

    /// <summary>Tells all of it, and flushes nothing. On the event loop's thread, as the first that this vmm tells the agent.</summary>
    public void Send(AgentSession session)
    {
        if (SetsClock)
        {
            SendClock(session);
        }

        Span<byte> random = stackalloc byte[AgentProtocol.MostEntropy];
        SystemRandom.Fill(random);
        session.Tell(AgentFrameType.Entropy, random);
        if (Hostname is not null)
        {
            session.Tell(AgentFrameType.Hostname, Encoding.UTF8.GetBytes(Hostname));
        }

        if (MachineId is not null)
        {
            session.Tell(AgentFrameType.MachineId, Encoding.ASCII.GetBytes(MachineId));
        }

        foreach ((ReadOnlyMemory<byte> from, ReadOnlyMemory<byte> to) in Cards)
        {
            session.Tell(AgentFrameType.Mac, [.. from.Span, .. to.Span]);
        }
    }
}
