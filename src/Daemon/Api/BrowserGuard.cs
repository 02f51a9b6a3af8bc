using System.Net;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Api;

/// <summary>Refuses what a page of another site has a browser send, with the rights of who looks at that page: its certificate, or a port
/// that was forwarded to the Unix socket.</summary>
internal sealed class BrowserGuard(RequestDelegate next)
{
    public Task InvokeAsync(HttpContext context)
    {
        HostString host = context.Request.Host;

        // A name with a dot may be a site's that leads here (DNS rebinding). On TCP the certificate says which names are vmmd's.
        if (Peer.Of(context).IsLocal && host.Host.Contains('.', StringComparison.Ordinal) && !IPAddress.TryParse(host.Host, out _))
        {
            throw new MachineException("forbidden", $"{host.Host}: by its socket vmmd is localhost, or any name without a dot");
        }

        string? origin = context.Request.Headers.Origin;
        return origin is null || (Uri.TryCreate(origin, UriKind.Absolute, out Uri? uri)
            && string.Equals(uri.Authority, host.Value, StringComparison.OrdinalIgnoreCase))
            ? next(context)
            : throw new MachineException("forbidden", $"{origin}: a page of another origin may not use vmmd");
    }
}
