using System.CommandLine;
using System.Globalization;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary>Options of every command whose machine has the terminal: the one that boots, and the one that goes on.</summary>
internal static class MachineOptions
{
    public static Option<string> StopTimeout() => new("--stop-timeout")
    {
        Description = "How long the guest may take to shut down after SIGTERM has pressed its power button; "
            + MachineSpec.DefaultStopSeconds.ToString(CultureInfo.InvariantCulture) + "s if not given, 0 for as long as it likes",
        HelpName = "TIME",
    };

    /// <exception cref="UsageException">It is no duration.</exception>
    public static TimeSpan Read(ParseResult result, Option<string> stopTimeout) => result.GetValue(stopTimeout) is { } timeout
        ? TimeSpanText.Parse(timeout, "--stop-timeout", zeroIsNoLimit: true)
        : MachineSpec.DefaultStopTimeout;

    public static Option<bool> Stats() => new("--stats")
    {
        Description = "Print figures about time, exits and memory at the end",
    };
}
