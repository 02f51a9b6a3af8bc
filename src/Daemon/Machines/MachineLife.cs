using System.Globalization;
using Microsoft.Extensions.Options;
using Vmm.Daemon.Api;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Quotas;

namespace Vmm.Daemon.Machines;

/// <summary>Makes, starts, stops and removes machines.</summary>
internal sealed partial class MachineLife(
    MachineRegistry registry, VmmProgram vmm, QuotaBook quotas, Owners owners, IOptions<DaemonOptions> options, ILogger<MachineLife> logger)
{
    /// <summary>Returns when it is in the background, as <c>vmm -d</c> does.</summary>
    /// <exception cref="RequestException">The request has faults.</exception>
    /// <exception cref="MachineException">The name is taken, the quota used, or vmm refuses.</exception>
    public async Task<WatchedMachine> MakeAsync(MachineRequest request, Peer peer)
    {
        MachineCommandLine line = MachineCommandLine.Of(request, new FileRights(options.Value.Files, peer), peer);
        using IDisposable share = quotas.Take(request.Name, new OwnerRecord(peer.Uid, line.Memory, line.Cpus), isNew: true);
        LogMaking(peer.Uid, request.Name);
        try
        {
            await vmm.RunAsync(line.Words);
        }
        catch
        {
            await registry.ScanAsync(CancellationToken.None);
            if (registry.Find(request.Name) is null)
            {
                owners.Remove(request.Name);
            }

            throw;
        }

        return await FoundAsync(request.Name, peer);
    }

    /// <summary>Starts one that has ended.</summary>
    public async Task<WatchedMachine> StartAsync(WatchedMachine machine, Peer peer)
    {
        if (machine.IsLive)
        {
            throw new MachineException("not-now", "it runs already");
        }

        MachineView view = machine.View;
        var wanted = new OwnerRecord(machine.Owner, (long)(view.Memory ?? 0), view.Cpus ?? 0);
        using IDisposable share = quotas.Take(machine.Name, owners.Find(machine.Name) ?? wanted, isNew: false);
        LogDoing(peer.Uid, "start", machine.Name);
        await vmm.RunAsync(["start", machine.Name]);
        return await FoundAsync(machine.Name, peer);
    }

    /// <summary>Has the guest shut down, and waits until it has. By vmm, not over the control socket: it sees to it that a machine with
    /// --restart is not started again, and ends one that does not listen.</summary>
    /// <param name="timeout">Seconds after which it is ended; as it was configured if null.</param>
    public async Task StopAsync(WatchedMachine machine, double? timeout, Peer peer)
    {
        if (timeout is < 0 or > 1e6 or double.NaN)
        {
            throw new MachineException("bad-arguments", "timeout: takes 0 to 1000000 seconds; 0 for as long as the guest likes");
        }

        string[] words = timeout is { } seconds
            ? ["stop", seconds == 0 ? "--timeout=0" : string.Create(CultureInfo.InvariantCulture, $"--timeout={Math.Ceiling(seconds):0}s"), machine.Name]
            : ["stop", machine.Name];
        await EndAsync(machine, words, peer);
    }

    /// <summary>Ends it now, even if it does not answer.</summary>
    public Task KillAsync(WatchedMachine machine, Peer peer) => EndAsync(machine, ["kill", machine.Name], peer);

    /// <summary>Removes its files.</summary>
    /// <param name="force">Even if it runs.</param>
    public async Task RemoveAsync(WatchedMachine machine, bool force, Peer peer)
    {
        if (machine.IsLive && !force)
        {
            throw new MachineException("not-now", "it runs: stop it first, or say ?force=true");
        }

        LogDoing(peer.Uid, "remove", machine.Name);
        await vmm.RunAsync(force ? ["rm", "--force", machine.Name] : ["rm", machine.Name]);
        await registry.ScanAsync(CancellationToken.None);
    }

    /// <summary>Does what the control socket does at once: pause, resume, power.</summary>
    public async Task DoAsync(WatchedMachine machine, string command, Peer peer, CancellationToken cancellation)
    {
        LogDoing(peer.Uid, command, machine.Name);
        await machine.AskAsync(command, null, cancellation);
        await machine.RefreshAsync(cancellation);
    }

    private async Task EndAsync(WatchedMachine machine, string[] words, Peer peer)
    {
        if (!machine.IsLive)
        {
            throw new MachineException("not-running", "the machine does not run");
        }

        LogDoing(peer.Uid, words[0], machine.Name);
        Task ended = machine.Link?.Ended ?? Task.CompletedTask;
        await vmm.RunAsync(words, hasTime: true);
        await ended.WaitAsync(options.Value.AnswerTimeout).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await registry.ScanAsync(CancellationToken.None);
    }

    private async Task<WatchedMachine> FoundAsync(string name, Peer peer)
    {
        await registry.ScanAsync(CancellationToken.None);
        WatchedMachine machine = registry.Get(name, peer);
        await machine.WhenConnectedAsync();
        return machine;
    }

    [LoggerMessage(30, LogLevel.Information, "User {User} makes machine {Machine}")]
    private partial void LogMaking(uint user, string machine);

    [LoggerMessage(31, LogLevel.Information, "User {User}: {Action} machine {Machine}")]
    private partial void LogDoing(uint user, string action, string machine);
}
