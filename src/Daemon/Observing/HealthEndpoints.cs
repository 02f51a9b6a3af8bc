using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;
using Vmm.Daemon.Api;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Observing;

/// <summary>How vmmd is: Healthy, Degraded or Unhealthy; with what is wrong, by check.</summary>
internal sealed record HealthView(string Status, IReadOnlyDictionary<string, string> Checks);

/// <summary>/health/live: vmmd itself goes on; /health/ready: machines can be made, too.</summary>
internal static class HealthEndpoints
{
    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapHealthChecks("/health/live", new HealthCheckOptions { Predicate = static each => each.Tags.Contains(LivenessCheck.Tag), ResponseWriter = WriteAsync });
        app.MapHealthChecks("/health/ready", new HealthCheckOptions { ResponseWriter = WriteAsync });
    }

    private static Task WriteAsync(HttpContext context, HealthReport report) => context.Response.WriteAsJsonAsync(
        new HealthView(
            report.Status.ToString(),
            report.Entries.ToDictionary(static each => each.Key, static each => each.Value.Description ?? each.Value.Status.ToString())),
        ApiJson.Default.HealthView);
}

/// <summary>Are the machines' directories looked at as often as they should be?</summary>
internal sealed class LivenessCheck(MachineRegistry registry, IOptions<DaemonOptions> options) : IHealthCheck
{
    public const string Tag = "live";

    public bool IsAlive => registry.SinceLastTurn < (3 * options.Value.ScanInterval) + (2 * options.Value.AnswerTimeout);

    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(IsAlive
            ? HealthCheckResult.Healthy()
            : HealthCheckResult.Unhealthy($"the machines were looked at {registry.SinceLastTurn.TotalSeconds:0} s ago"));
}

/// <summary>Is there a vmm to make machines with, and room for what they leave?</summary>
internal sealed class ReadinessCheck(DaemonPaths paths) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(
            paths.Program is null ? HealthCheckResult.Unhealthy("there is no vmm beside vmmd nor on PATH; Vmmd:Program says where it is")
            : !File.Exists(paths.Program) ? HealthCheckResult.Unhealthy($"{paths.Program}: no such file")
            : !File.Exists("/dev/kvm") ? HealthCheckResult.Degraded("there is no /dev/kvm here")
            : HealthCheckResult.Healthy());
}
