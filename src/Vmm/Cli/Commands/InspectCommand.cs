using System.CommandLine;
using Vmm.Boot.Inspect;
using Vmm.Kernels;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm inspect FILE</c>: what a kernel image is, and what it lacks for vmm.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        var file = new Argument<string>("FILE") { Description = "A bzImage, a vmlinux or another kernel, or a name as --kernel takes it" };
        var json = new Option<bool>("--json") { Description = "Print it for programs" };
        var command = new Command("inspect", "Tell what a kernel image is: format, version, entries, and what it lacks");
        command.Arguments.Add(file);
        command.Options.Add(json);
        command.SetAction(result =>
        {
            KernelReport report = KernelInspector.Inspect(KernelNames.Resolve(result.GetRequiredValue(file), KernelStore.Default));
            string text = result.GetValue(json) ? ReportJson.Render(report) : ReportText.Render(report);
            Stdout.Write(text.EndsWith('\n') ? text : text + "\n");
            return ExitCodes.Success;
        });
        return command;
    }
}
