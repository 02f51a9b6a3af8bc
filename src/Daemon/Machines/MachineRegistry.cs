using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.Extensions.Options;
using Vmm.Daemon.Api;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Quotas;
using Vmm.Named;

namespace Vmm.Daemon.Machines;

/// <summary>All machines of vmmd's user: found by their directories, whoever started them, and watched. What is known is read anew at
/// each start; nothing is lost when vmmd is killed.</summary>
internal sealed partial class MachineRegistry(
    DaemonPaths paths, IOptions<DaemonOptions> options, Owners owners, MachineEvents events, ILogger<MachineRegistry> logger)
    : BackgroundService
{
    private readonly ConcurrentDictionary<string, WatchedMachine> _machines = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _scanning = new(1);
    private long _lastTurn = Stopwatch.GetTimestamp();

    public IEnumerable<WatchedMachine> All => _machines.Values.OrderBy(static machine => machine.Name, StringComparer.Ordinal);

    /// <summary>How long ago the last look at the directories was; the sign of life for health checks and watchdog.</summary>
    public TimeSpan SinceLastTurn => Stopwatch.GetElapsedTime(Interlocked.Read(ref _lastTurn));

    /// <exception cref="MachineException">There is none, or it is another user's.</exception>
    public WatchedMachine Get(string name, Peer peer) =>
        _machines.TryGetValue(name, out WatchedMachine? machine) && peer.MaySee(machine.Owner)
            ? machine
            : throw new MachineException("no-such-machine", "there is no machine of this name");

    public WatchedMachine? Find(string name) => _machines.GetValueOrDefault(name);

    /// <summary>Before the first request is served, all machines that run are known.</summary>
    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        await ScanAsync(cancellationToken);
        owners.Forget(name => !Directory.Exists(Path.Combine(paths.Machines, name)), options.Value.StartTimeout);
        LogFound(_machines.Count, All.Count(static machine => machine.IsLive));
        await base.StartAsync(cancellationToken);
    }

    /// <summary>Looks at the directories now.</summary>
    public async Task ScanAsync(CancellationToken cancellation)
    {
        await _scanning.WaitAsync(cancellation);
        try
        {
            HashSet<string> names = Names();
            foreach (WatchedMachine gone in _machines.Values.Where(machine => !names.Contains(machine.Name)).ToList())
            {
                _machines.TryRemove(gone.Name, out _);
                await gone.LeaveAsync();
                owners.Remove(gone.Name);
                gone.Tell("removed", MachineStateName.Exited);
                LogRemoved(gone.Name);
            }

            await Task.WhenAll(names.Select(name => LookAsync(name, cancellation)));
            Interlocked.Exchange(ref _lastTurn, Stopwatch.GetTimestamp());
        }
        finally
        {
            _scanning.Release();
        }
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        await Task.WhenAll(_machines.Values.Select(static machine => machine.LeaveAsync()));
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(options.Value.ScanInterval);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                try
                {
                    await ScanAsync(stoppingToken);
                }
                catch (Exception error) when (error is IOException or UnauthorizedAccessException)
                {
                    LogCannotLook(error.Message);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
        }
    }

    private async Task LookAsync(string name, CancellationToken cancellation)
    {
        bool isNew = false;
        if (!_machines.TryGetValue(name, out WatchedMachine? machine))
        {
            machine = new WatchedMachine(
                name, Path.Combine(paths.Machines, name), paths.ControlSocket(name), events, options.Value.AnswerTimeout);
            isNew = true;
        }

        machine.Owner = owners.Of(name);
        await machine.LookAsync(cancellation);
        if (isNew)
        {
            _machines[name] = machine;
            machine.Tell("appeared");
            LogAppeared(name, machine.View.State);
        }
    }

    private HashSet<string> Names()
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (string directory in Entries(paths.Machines))
        {
            names.Add(Path.GetFileName(directory));
        }

        // One that runs is shown even if its files are gone.
        foreach (string directory in Entries(Path.Combine(paths.RuntimeHome, "vmm")))
        {
            string name = Path.GetFileName(directory);
            if (File.Exists(paths.ControlSocket(name)))
            {
                names.Add(name);
            }
        }

        names.RemoveWhere(static name => !MachineName.IsValid(name));
        return names;
    }

    private static List<string> Entries(string directory)
    {
        try
        {
            return [.. Directory.EnumerateDirectories(directory)];
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    [LoggerMessage(10, LogLevel.Information, "Found {Count} machines, of which {Live} run")]
    private partial void LogFound(int count, int live);

    [LoggerMessage(11, LogLevel.Information, "Machine {Machine} appeared, {State}")]
    private partial void LogAppeared(string machine, MachineStateName state);

    [LoggerMessage(12, LogLevel.Information, "Machine {Machine} was removed")]
    private partial void LogRemoved(string machine);

    [LoggerMessage(13, LogLevel.Error, "The machines' directories cannot be read: {Reason}")]
    private partial void LogCannotLook(string reason);
}
