using System.Runtime.InteropServices;
using Vmm.Backends.Agent;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Results;

namespace Vmm.Run;

/// <summary>How a run ended: exit code and message.</summary>
/// <param name="Outcome">The kind of end.</param>
/// <param name="Code">vmm's exit code.</param>
/// <param name="Message">One line for the user; null where the command's own exit code is enough.</param>
/// <param name="ShowConsole">Show the last lines of the guest's console with the message?</param>
internal sealed record RunVerdict(RunOutcome Outcome, int Code, string? Message = null, bool ShowConsole = false)
{
    public const int TimedOut = 124;
    public const int VmmFailed = 125;
    public const int NotExecutable = 126;
    public const int NotFound = 127;

    /// <summary>virtme-ng's exit code when the guest's kernel has panicked.</summary>
    public const int VirtmePanicked = 255;

    public static RunVerdict Failed(string message, bool showConsole = false) =>
        new(RunOutcome.VmmFailed, VmmFailed, message, showConsole);

    public static RunVerdict NotStarted(string message, bool showConsole = false) =>
        new(RunOutcome.NotStarted, VmmFailed, message, showConsole);

    public static RunVerdict StoppedBy(int signal) =>
        new(RunOutcome.Stopped, ExitCodes.SignalBase + signal, $"stopped by {SignalNames.Of(signal)}");

    /// <summary>The command has ended, or was not to be started.</summary>
    public static RunVerdict Of(in AgentExit exit, RunOptions options) =>
        Of(exit, options.Command[0], options.Directory, options.User);

    /// <inheritdoc cref="Of(in AgentExit, RunOptions)"/>
    /// <param name="command">The program.</param>
    /// <param name="directory">What --workdir said; likewise the user.</param>
    public static RunVerdict Of(in AgentExit exit, string command, string? directory, string? user)
    {
        string why = Marshal.GetPInvokeErrorMessage((int)(exit.Value & 0xfff));
        int code = (int)(exit.Value & 0xff);
        return exit.How switch
        {
            AgentEnding.Exit => new RunVerdict(code == 0 ? RunOutcome.Passed : RunOutcome.Failed, code),
            AgentEnding.Signal => new RunVerdict(RunOutcome.Failed, ExitCodes.SignalBase + (int)(exit.Value & 0x7f)),
            AgentEnding.Exec when exit.Value == ErrnoException.ENOENT =>
                new RunVerdict(RunOutcome.NotStarted, NotFound, $"{command}: no such program in the guest"),
            AgentEnding.Exec => new RunVerdict(RunOutcome.NotStarted, NotExecutable, $"{command}: {why}"),
            AgentEnding.Directory => NotStarted($"--workdir {directory}: {why} in the guest"),
            AgentEnding.User => NotStarted(
                exit.Value == 3 ? $"--user {user}: no such user or group in the guest" : $"--user {user}: {why}"),
            AgentEnding.Rewound => Failed($"{command}: the machine went back to its snapshot while it ran"),
            _ => NotStarted($"{command}: the guest could not start it: {why}"),
        };
    }

    /// <summary>The machine has ended, and the command had not.</summary>
    /// <param name="hasArrived">Did the agent run?</param>
    public static RunVerdict Of(MachineEnd end, RunOptions options, bool hasArrived) => end.Kind switch
    {
        MachineEndKind.GuestCrashed => new RunVerdict(RunOutcome.Crashed, ExitCodes.GuestCrashed, end.Message, ShowConsole: true),
        MachineEndKind.HostFailed => Failed(end.Summary),
        MachineEndKind.GuestPanicked => new RunVerdict(
            RunOutcome.Panicked, options.VirtmeCodes ? VirtmePanicked : ExitCodes.GuestPanicked, end.Message, ShowConsole: true),
        _ when !hasArrived => NotStarted($"the guest ended before vmm's agent ran in it: {end.Summary}", showConsole: true),
        _ => new RunVerdict(
            RunOutcome.Crashed, VmmFailed, $"the guest ended before the command did: {end.Summary}", ShowConsole: true),
    };
}
