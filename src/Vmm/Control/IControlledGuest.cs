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

    /// <summary>What it went on from when it started, if it did, was a machine of somebody's that was saved or forked: it may go back there.
    /// </summary>
    bool HasOrigin { get; }

    /// <summary>The machine's state is what it was when it was saved: processes that run for others are lost, and its agent has to be heard
    /// anew. While the machine stands still and the loop is held.</summary>
    /// <param name="toOrigin">It was saved or forked as another machine, from which this one went on.</param>
    /// <exception cref="Vmm.Host.ErrnoException">The host cannot.</exception>
    void WentBack(bool toOrigin);

    /// <summary>After <see cref="WentBack"/>, when it runs.</summary>
    /// <param name="back">Called once its agent has answered and its processes go on. Not called where the machine ends instead.</param>
    void WhenBack(Action back);

    /// <summary>Lets them go on.</summary>
    /// <param name="hasAsked">The guest asked for the forks, which there are now.</param>
    void LetGo(bool hasAsked);

    /// <summary>Asks the command to end (SIGTERM).</summary>
    /// <returns>False where there is none: the machine ends.</returns>
    bool Stop();

    /// <summary>Ends the machine; the verdict is that it was killed.</summary>
    void Kill();
}
