using System.Globalization;
using Vmm.Kvm;

namespace Vmm.Machines;

/// <summary>How a machine ended.</summary>
internal enum MachineEndKind
{
    PoweredOff,
    Reset,
    GuestCode,
    GuestCrashed,
    GuestPanicked,
    Stopped,
    HostFailed,
}

/// <param name="ExitCode">What the process exits with; see <see cref="ExitCodes"/>.</param>
/// <param name="Message">One line for the user; null for none.</param>
internal sealed record MachineEnd(MachineEndKind Kind, int ExitCode, string? Message)
{
    private const int SigKill = 9, SigTerm = 15;

    /// <summary>The message for a reset that the guest asked for.</summary>
    public const string Rebooted = "the guest rebooted";

    /// <summary>How it ended, in every case.</summary>
    public string Summary => Message ?? Kind switch
    {
        MachineEndKind.PoweredOff => "the guest powered off",
        MachineEndKind.Reset => Rebooted,
        MachineEndKind.GuestCode => $"the guest ended it with code {ExitCode}",
        _ => "stopped by the user",
    };

    public static MachineEnd PoweredOff { get; } = new(MachineEndKind.PoweredOff, ExitCodes.Success, null);

    public static MachineEnd Reset { get; } = new(MachineEndKind.Reset, ExitCodes.Success, null);

    /// <summary>A reset where the user wants none (--on-reboot fail).</summary>
    public static MachineEnd UnwantedReset { get; } =
        new(MachineEndKind.Reset, ExitCodes.GuestRebooted, $"{Rebooted} (--on-reboot fail)");

    /// <summary>The user asked for it at the console (Ctrl-A x).</summary>
    public static MachineEnd Quit { get; } = new(MachineEndKind.Stopped, ExitCodes.Success, null);

    /// <summary>The machine was saved, and then stopped.</summary>
    public static MachineEnd Saved { get; } = new(MachineEndKind.Stopped, ExitCodes.Success, "stopped: it is saved");

    /// <summary>The machine's end when a vCPU has stopped.</summary>
    public static MachineEnd For(GuestStop stop) => stop.Kind switch
    {
        GuestStopKind.PoweredOff => PoweredOff,
        GuestStopKind.Reset => Reset,
        GuestStopKind.Crashed => Crashed(stop.Detail!),
        _ => HostFailed(Failures.Describe(stop.Error!)),
    };

    public static MachineEnd FromGuest(byte code) => new(MachineEndKind.GuestCode, code, null);

    public static MachineEnd Crashed(string message) =>
        new(MachineEndKind.GuestCrashed, ExitCodes.GuestCrashed, "the guest crashed: " + message);

    /// <param name="why">The kernel's message.</param>
    public static MachineEnd Panicked(string why) =>
        new(MachineEndKind.GuestPanicked, ExitCodes.GuestPanicked, "the guest's kernel panicked: " + why);

    public static MachineEnd HostFailed(string message) =>
        new(MachineEndKind.HostFailed, ExitCodes.HostCannot, message);

    /// <summary>The text that the user waits for has come (boot-timeline --until).</summary>
    public static MachineEnd Reached(string what) =>
        new(MachineEndKind.Stopped, ExitCodes.Success, $"stopped: '{what}' is reached");

    /// <summary>The command of vmm run has ended; its own result says how.</summary>
    public static MachineEnd CommandEnded { get; } = new(MachineEndKind.Stopped, ExitCodes.Success, null);

    /// <summary>The console's reader has closed the pipe, as in <c>vmm ... | head</c>.</summary>
    public static MachineEnd OutputClosed(string message) =>
        new(MachineEndKind.Stopped, ExitCodes.HostCannot, message);

    /// <summary>The guest did not shut down in time after its power button was pressed.</summary>
    public static MachineEnd StopTimedOut(TimeSpan timeout) => new(
        MachineEndKind.Stopped, ExitCodes.StopTimedOut, string.Create(
            CultureInfo.InvariantCulture,
            $"the guest did not end within {timeout.TotalSeconds} s (--stop-timeout) after its power button was pressed"));

    /// <summary>It was asked to stop over its control socket, and nothing in the guest listened to the power button.</summary>
    public static MachineEnd StoppedByControl { get; } =
        new(MachineEndKind.Stopped, ExitCodes.SignalBase + SigTerm, "stopped over the control socket");

    /// <summary>It was ended over its control socket.</summary>
    public static MachineEnd Killed { get; } =
        new(MachineEndKind.Stopped, ExitCodes.SignalBase + SigKill, "killed over the control socket");

    /// <param name="signal">Its number; the exit code is 128 more, as shells do.</param>
    public static MachineEnd StoppedBySignal(int signal, string name) =>
        new(MachineEndKind.Stopped, ExitCodes.SignalBase + signal, $"stopped by {name}");
}
