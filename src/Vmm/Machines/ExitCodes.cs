using Vmm.Text;

namespace Vmm.Machines;

/// <summary>vmm's exit codes; part of its interface. The numbers are those of &lt;sysexits.h&gt; where one fits.</summary>
internal static class ExitCodes
{
    /// <summary>The guest powered off or rebooted, or the user ended it at the console.</summary>
    public const int Success = 0;

    /// <summary>The command line or a file named on it is wrong; nothing was started (EX_USAGE).</summary>
    public const int Usage = 64;

    /// <summary>The host does not allow it: no /dev/kvm, no memory, a failed system call (EX_UNAVAILABLE).</summary>
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

    /// <summary>The guest's kernel complained of what <c>vmm run --fail-on</c> names.</summary>
    public const int GuestComplained = 74;

    /// <summary>Stopped by signal N: 128 + N.</summary>
    public const int SignalBase = 128;

    /// <summary>For help and manual pages; each code above has its row.</summary>
    /// <param name="boots">The codes of commands that boot a machine, else of all others.</param>
    public static IReadOnlyList<ManualRow> Of(bool boots) => boots ? Machine : Commands;

    private static ManualRow[] Machine =>
    [
        new("0", "the guest powered off or rebooted, or Ctrl-A x"),
        new("the guest's", "a byte that it wrote to port 0xf4"),
        new("64", "the command line or a file named on it is wrong; nothing was started"),
        new("69", "the host cannot: no /dev/kvm, no memory, too many open files, a failed system call, no room for results"),
        new("70", "the guest crashed: triple fault, unknown instruction, KVM internal error; or vmm did, which is a bug to report"),
        new("71", "the guest's kernel panicked"),
        new("72", "the guest did not end within --stop-timeout after its power button was pressed"),
        new("73", "the guest rebooted, and --on-reboot fail was given"),
        new("74", "the guest's kernel complained of what vmm run --fail-on names"),
        new("128 + N", "stopped by signal N"),
    ];

    private static ManualRow[] Commands =>
    [
        new("0", "done"),
        new("64", "the command line or a file named on it is wrong; nothing was done"),
        new("69", "the host cannot: a failed system call, no room, too many open files"),
        new("70", "a bug of vmm, to be reported"),
    ];
}
