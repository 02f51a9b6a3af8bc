using Vmm.Backends.Agent;

namespace Vmm.Control;

/// <summary>What <c>vmm run</c> adds to its machine. On the event loop's thread.</summary>
internal interface IControlledGuest
{
    /// <summary>Does its command not run yet?</summary>
    bool IsBooting { get; }

    /// <summary>Does its agent answer?</summary>
    bool HasAgent { get; }

    /// <summary>The command has begun.</summary>
    event Action? Began;

    /// <summary>Starts another command beside its own. Only where <see cref="HasAgent"/>, and it is not booting.</summary>
    AgentProcess Start(ExecArguments arguments, IAgentProcessOwner owner);

    /// <summary>Asks the command to end (SIGTERM).</summary>
    /// <returns>False where there is none: the machine ends.</returns>
    bool Stop();

    /// <summary>Ends the machine; the verdict is that it was killed.</summary>
    void Kill();
}
