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

    /// <summary>Stops all processes of the guest, so that none runs in a copy before that is told which one it is. Only where <see
    /// cref="HasAgent"/>.</summary>
    /// <param name="held">Called once: with null when they stand still, else with why they do not.</param>
    void Hold(Action<string?> held);

    /// <summary>Can it connect to another vmm? It cannot by a serial line.</summary>
    bool CanHold { get; }

    /// <summary>Lets them go on.</summary>
    /// <param name="hasAsked">The guest asked for the forks, which there are now.</param>
    void LetGo(bool hasAsked);

    /// <summary>Asks the command to end (SIGTERM).</summary>
    /// <returns>False where there is none: the machine ends.</returns>
    bool Stop();

    /// <summary>Ends the machine; the verdict is that it was killed.</summary>
    void Kill();
}
