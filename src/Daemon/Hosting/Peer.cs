using System.Buffers.Binary;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace Vmm.Daemon.Hosting;

/// <summary>Who is at the other end of a connection.</summary>
/// <param name="Uid">Of the process that connected (SO_PEERCRED of unix(7)); vmmd's own for who came by TCP with a certificate.</param>
/// <param name="IsLocal">By the Unix socket.</param>
internal sealed record Peer(uint Uid, bool IsLocal = true)
{
    /// <summary>vmmd's own user and root may do everything; others have machines of their own.</summary>
    public bool IsAdministrator => Uid == 0 || Uid == Self;

    /// <summary>The user that vmmd runs as.</summary>
    public static uint Self { get; } = LibC.geteuid();

    public bool MaySee(uint owner) => IsAdministrator || owner == Uid;

    /// <summary>Of a request; every connection has one.</summary>
    public static Peer Of(HttpContext context) => context.Features.Get<Peer>() ?? throw new InvalidOperationException("a connection without a peer");

    /// <returns>Null where the kernel does not say.</returns>
    public static Peer? Of(ConnectionContext connection)
    {
        const int SolSocket = 1, SoPeerCred = 17, UidOffset = 4, UcredSize = 12;
        if (connection.Features.Get<IConnectionSocketFeature>()?.Socket is not { AddressFamily: AddressFamily.Unix } socket)
        {
            return null;
        }

        Span<byte> ucred = stackalloc byte[UcredSize];
        return socket.GetRawSocketOption(SolSocket, SoPeerCred, ucred) == UcredSize
            ? new Peer(BinaryPrimitives.ReadUInt32LittleEndian(ucred[UidOffset..]))
            : null;
    }
}
