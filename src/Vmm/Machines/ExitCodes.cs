namespace Vmm.Machines;

/// <summary>What vmm exits with; part of its interface, listed in the README. The numbers are those of
/// &lt;sysexits.h&gt; where one fits.</summary>
internal static class ExitCodes
{
    /// <summary>The guest powered off or rebooted, or the user ended it at the console.</summary>
    public const int Success = 0;

    /// <summary>The command line or a file named on it is wrong; nothing was started (EX_USAGE).</summary>
    public const int Usage = 64;

    /// <summary>The host cannot: no /dev/kvm, no memory, a failed system call (EX_UNAVAILABLE).</summary>
    public const int HostCannot = 69;

    /// <summary>Triple fault, unknown instruction, KVM internal error (EX_SOFTWARE).</summary>
    public const int GuestCrashed = 70;

    /// <summary>A bug of vmm's own (EX_SOFTWARE, too); standard error has what to report.</summary>
    public const int InternalError = 70;

    /// <summary>The guest's kernel panicked. (From here on the numbers of &lt;sysexits.h&gt; mean other things.)</summary>
    public const int GuestPanicked = 71;

    /// <summary>The guest did not end within --stop-timeout after its power button was pressed.</summary>
    public const int StopTimedOut = 72;

    /// <summary>The guest rebooted, and --on-reboot fail was given.</summary>
    public const int GuestRebooted = 73;

    /// <summary>Stopped by signal N: 128 + N.</summary>
    public const int SignalBase = 128;
}
