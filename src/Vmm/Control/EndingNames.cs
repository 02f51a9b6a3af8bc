using Vmm.Backends.Agent;

namespace Vmm.Control;

/// <summary>What the control protocol calls the ends of a guest's processes: <c>how</c> of its event <c>exited</c>.</summary>
internal static class EndingNames
{
    private const string Exit = "exit", Signal = "signal", Exec = "exec", Directory = "directory", User = "user", Resources = "resources",
        Rewound = "rewound";

    public static string NameOf(AgentEnding how) => how switch
    {
        AgentEnding.Exit => Exit,
        AgentEnding.Signal => Signal,
        AgentEnding.Exec => Exec,
        AgentEnding.Directory => Directory,
        AgentEnding.User => User,
        AgentEnding.Rewound => Rewound,
        _ => Resources,
    };

    /// <param name="name">What a machine said: anything.</param>
    public static AgentEnding EndingOf(string? name) => name switch
    {
        Exit => AgentEnding.Exit,
        Signal => AgentEnding.Signal,
        Exec => AgentEnding.Exec,
        Directory => AgentEnding.Directory,
        User => AgentEnding.User,
        Rewound => AgentEnding.Rewound,
        _ => AgentEnding.Resources,
    };
}
