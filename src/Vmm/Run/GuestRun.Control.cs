using Vmm.Backends.Agent;
using Vmm.Control;
using Vmm.Host;

namespace Vmm.Run;

/// <summary>What can be asked of a run over the machine's control socket.</summary>
internal sealed partial class GuestRun : IControlledGuest
{
    private const int Kill = 9;

    private const string Home = "HOME=";

    /// <inheritdoc/>
    public event Action? Began;

    bool IControlledGuest.IsBooting => _phase == RunPhase.Booting;

    bool IControlledGuest.HasAgent => _session.HasArrived && _phase is RunPhase.Booting or RunPhase.Running;

    AgentProcess IControlledGuest.Start(ExecArguments arguments, IAgentProcessOwner owner)
    {
        Dictionary<string, string> environment = new(StringComparer.Ordinal);
        foreach (string each in (IEnumerable<string>)[.. _options.Environment, .. arguments.Env])
        {
            environment[each[..each.IndexOf('=', StringComparison.Ordinal)]] = each;
        }

        if (arguments.User is not null && !arguments.Env.Any(static each => each.StartsWith(Home, StringComparison.Ordinal)))
        {
            environment.Remove(Home[..^1]);     // the agent looks up whose it is
        }

        return _session.Start(
            new AgentCommand
            {
                Arguments = arguments.Args,
                Environment = [.. environment.Values],
                Directory = arguments.Cwd ?? _options.Directory,
                User = arguments.User ?? _options.User,
                Flags = (arguments.Tty ? AgentStartFlags.Terminal : 0) | (_options.HasRoot ? 0 : AgentStartFlags.Applets),
                Rows = arguments.Rows,
                Columns = arguments.Columns,
            },
            owner);
    }

    bool IControlledGuest.Stop()
    {
        if (Forward(LibC.SIGTERM))
        {
            return true;
        }

        EndBySignal(LibC.SIGTERM);
        return false;
    }

    void IControlledGuest.Kill() => EndBySignal(Kill);
}
