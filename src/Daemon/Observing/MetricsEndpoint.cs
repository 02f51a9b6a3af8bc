using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Observing;

/// <summary>/metrics, for Prometheus: those of all machines, so for vmmd's own user only.</summary>
internal static class MetricsEndpoint
{
    private const string Path = "/metrics";

    public static void Use(WebApplication app)
    {
        MachineMetrics metrics = app.Services.GetRequiredService<MachineMetrics>();
        app.Use(async (context, next) =>
        {
            if (context.Request.Path == Path)
            {
                if (!Peer.Of(context).IsAdministrator)
                {
                    throw new MachineException("forbidden", "metrics tell of all users' machines: they are for vmmd's own user");
                }

                await metrics.RefreshAsync(context.RequestAborted);

                // OpenTelemetry has no instrument that takes a histogram which others counted: it is written behind what OpenTelemetry
                // writes, in the same format.
                context.Request.Headers.Accept = "text/plain; version=0.0.4";
                await next(context);
                await context.Response.WriteAsync(ExitHistograms.Format(metrics.Statistics), context.RequestAborted);
                return;
            }

            await next(context);
        });
        app.MapPrometheusScrapingEndpoint(Path);
    }
}
