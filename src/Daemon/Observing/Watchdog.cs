using System.Globalization;
using Microsoft.Extensions.Hosting.Systemd;
using Microsoft.Extensions.Options;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Observing;

/// <summary>Tells systemd at intervals that vmmd is alive (sd_watchdog_enabled(3)); systemd restarts a vmmd that hangs.</summary>
internal sealed class Watchdog(MachineRegistry registry, IOptions<DaemonOptions> options, IServiceProvider services) : BackgroundService
{
    private static readonly ServiceState Alive = new("WATCHDOG=1");

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (services.GetService<ISystemdNotifier>() is not { IsEnabled: true } notifier || Interval is not { } interval)
        {
            return;
        }

        var check = new LivenessCheck(registry, options);
        using var timer = new PeriodicTimer(interval / 2);
        try
        {
            do
            {
                if (check.IsAlive)
                {
                    notifier.Notify(Alive);
                }
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException)
        {
        }
    }

    private static TimeSpan? Interval =>
        Environment.GetEnvironmentVariable("WATCHDOG_PID") is var pid
        && (pid is null || pid == Environment.ProcessId.ToString(CultureInfo.InvariantCulture))
        && long.TryParse(Environment.GetEnvironmentVariable("WATCHDOG_USEC"), NumberStyles.None, CultureInfo.InvariantCulture, out long usec)
        && usec > 0
            ? TimeSpan.FromMicroseconds(usec)
            : null;
}
