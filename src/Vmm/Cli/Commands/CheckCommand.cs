using System.CommandLine;
using Vmm.Host;
using Vmm.Kvm;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm check</c>: checks the host, and says what to do about each problem.</summary>
internal static class CheckCommand
{
    public static Command Create()
    {
        var command = new Command("check", "Check this host: can it run virtual machines, how well, and what is missing");
        command.SetAction(_ => Run());
        return command;
    }

    private static int Run()
    {
        bool colour = LibC.isatty(1) == 1 && Environment.GetEnvironmentVariable("NO_COLOR") is null or "";
        int worst = 0;
        foreach (Finding finding in HostDoctor.Examine())
        {
            Stdout.WriteLine(finding.Format(colour));
            worst = Math.Max(worst, (int)finding.Severity);
        }

        bool usable = worst < (int)Severity.Broken;
        Stdout.WriteLine(usable ? "This host can run vmm." : "This host cannot run vmm: see what is marked above.");
        return usable ? ExitCodes.Success : ExitCodes.HostCannot;
    }
}
