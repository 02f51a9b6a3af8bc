namespace Vmm.Daemon.Machines;

/// <summary>A machine, or vmm, cannot do what was asked. The message is one line for the user.</summary>
/// <param name="code">For programs: the control protocol's codes, and vmmd's own: <c>not-running</c>, <c>no-answer</c>,
/// <c>no-machine</c>, <c>other-version</c>, <c>name-taken</c>, <c>quota</c>, <c>refused</c>.</param>
internal sealed class MachineException(string code, string message) : Exception(message)
{
    public string Code { get; } = code;

    public static MachineException Gone() => new("not-running", "the machine has ended");

    public static MachineException Silent() => new("no-answer", "the machine does not answer");

    public static MachineException Nonsense() => new("no-machine", "what listens at its control socket is no machine of vmm's");
}
