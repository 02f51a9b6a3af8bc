namespace Vmm.Run;

/// <summary>The phases of a run.</summary>
internal enum RunPhase
{
    /// <summary>Until the command runs.</summary>
    Booting,
    Running,

    /// <summary>The result is a timeout; the guest has a moment to write what it was doing.</summary>
    TimedOut,

    /// <summary>The connection to the agent is lost; the machine may end too.</summary>
    Lost,

    /// <summary>The guest writes the changes to be kept.</summary>
    Leaving,
    Over,
}
