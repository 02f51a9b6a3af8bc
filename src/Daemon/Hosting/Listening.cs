using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;

namespace Vmm.Daemon.Hosting;

/// <summary>Where vmmd listens: a socket that systemd gave, else a Unix socket; and TCP with certificates on both sides.</summary>
internal static class Listening
{
    private const int FirstDescriptor = 3;      // SD_LISTEN_FDS_START of sd_listen_fds(3)

    /// <summary>Whether systemd gave sockets.</summary>
    public static bool IsActivated =>
        Environment.GetEnvironmentVariable("LISTEN_PID") == Environment.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture)
        && int.TryParse(Environment.GetEnvironmentVariable("LISTEN_FDS"), out int count) && count > 0;

    public static void Configure(KestrelServerOptions kestrel, DaemonOptions options, DaemonPaths paths, ConnectionGate gate)
    {
        kestrel.AddServerHeader = false;
        KestrelServerLimits limits = kestrel.Limits;
        limits.MaxConcurrentConnections = options.MostConnections;
        limits.MaxConcurrentUpgradedConnections = options.MostConnections / 2;
        limits.MaxRequestBodySize = 1 << 20;
        limits.MaxRequestBufferSize = 64 << 10;
        limits.MaxRequestHeadersTotalSize = 16 << 10;
        limits.RequestHeadersTimeout = TimeSpan.FromSeconds(10);
        limits.KeepAliveTimeout = TimeSpan.FromMinutes(2);
        limits.MinRequestBodyDataRate = new MinDataRate(240, TimeSpan.FromSeconds(5));

        if (IsActivated)
        {
            for (int i = 0; i < int.Parse(Environment.GetEnvironmentVariable("LISTEN_FDS")!, System.Globalization.CultureInfo.InvariantCulture); i++)
            {
                // systemd gives them without FD_CLOEXEC; they are not for the machines.
                _ = LibC.fcntl(FirstDescriptor + i, LibC.F_SETFD, LibC.FD_CLOEXEC);
            }

            kestrel.UseSystemd(listen => Guard(listen, gate, null));
        }
        else
        {
            kestrel.ListenUnixSocket(paths.Socket, listen => Guard(listen, gate, null));
        }

        if (options.Tcp is { } tcp)
        {
            kestrel.Listen(IPEndPoint.Parse(tcp.Address!), listen =>
            {
                Guard(listen, gate, new Peer(Peer.Self, IsLocal: false));
                listen.UseHttps(Certificates(tcp));
            });
        }
    }

    private static void Guard(ListenOptions listen, ConnectionGate gate, Peer? certified)
    {
        listen.Protocols = HttpProtocols.Http1;
        listen.Use(next => gate.Guard(next, certified));
    }

    private static HttpsConnectionAdapterOptions Certificates(TcpOptions tcp)
    {
        X509Certificate2 server = Load("Certificate", () => X509Certificate2.CreateFromPemFile(tcp.Certificate!, tcp.Key));
        X509Certificate2Collection between = [], roots = [];
        Load("Certificate", () => { between.ImportFromPemFile(tcp.Certificate!); return 0; });
        Load("ClientCa", () => { roots.ImportFromPemFile(tcp.ClientCa!); return 0; });
        if (roots.Count == 0)
        {
            throw new ConfigurationException($"Vmmd:Tcp:ClientCa {tcp.ClientCa}: has no certificate in it");
        }

        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            DisableCertificateDownloads = true,
        };
        policy.CustomTrustStore.AddRange(roots);
        policy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.2"));     // RFC 5280, 4.2.1.12: id-kp-clientAuth
        return new HttpsConnectionAdapterOptions
        {
            ServerCertificate = server,
            ServerCertificateChain = between,
            ClientCertificateMode = ClientCertificateMode.RequireCertificate,
            ClientCertificateValidation = (certificate, _, _) => IsTrusted(certificate, policy),
        };
    }

    private static bool IsTrusted(X509Certificate2 certificate, X509ChainPolicy policy)
    {
        using var chain = new X509Chain { ChainPolicy = policy.Clone() };
        return chain.Build(certificate);
    }

    private static T Load<T>(string key, Func<T> load)
    {
        try
        {
            return load();
        }
        catch (Exception error) when (error is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"Vmmd:Tcp:{key}: {error.Message}");
        }
    }
}
