using System.Collections.Concurrent;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace Vmm.Daemon.Hosting;

/// <summary>Looks at who connects, before a byte is read; nobody has more than a share of the connections.</summary>
internal sealed partial class ConnectionGate(IOptions<DaemonOptions> options, ILogger<ConnectionGate> logger)
{
    private readonly int _most = options.Value.MostConnectionsPerUser;
    private readonly ConcurrentDictionary<uint, int> _counts = new();

    /// <param name="certified">The peer of a connection without SO_PEERCRED; null where there is none.</param>
    public ConnectionDelegate Guard(ConnectionDelegate next, Peer? certified) => async connection =>
    {
        if ((Peer.Of(connection) ?? certified) is not { } peer)
        {
            connection.Abort();
            return;
        }

        if (_counts.AddOrUpdate(peer.Uid, 1, static (_, count) => count + 1) <= _most)
        {
            connection.Features.Set(peer);
            try
            {
                await next(connection);
            }
            finally
            {
                Leave(peer.Uid);
            }
        }
        else
        {
            Leave(peer.Uid);
            LogTooMany(peer.Uid, _most);
            connection.Abort();
        }
    };

    private void Leave(uint uid) => _counts.AddOrUpdate(uid, 0, static (_, count) => count - 1);

    [LoggerMessage(1, LogLevel.Warning, "User {Uid} has {Most} connections already: one more was closed")]
    private partial void LogTooMany(uint uid, int most);
}
