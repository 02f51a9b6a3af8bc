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
            string path = KernelNames.Resolve(result.GetRequiredValue(file), KernelStore.Default);
            KernelReport report = KernelInspector.Inspect(path);
            string text = result.GetValue(json) ? ReportJson.Render(report) : ReportText.Render(report);
            Stdout.Write(text.EndsWith('\n') ? text : text + "\n");
            if (!result.GetValue(json) && KernelStore.Default.Owner(path) is { } kernel)
            {
                WriteModules(kernel);
            }

            return ExitCodes.Success;
        });
        return command;
    }

    /// <summary>What vmm run adds to a kernel that it keeps.</summary>
    private static void WriteModules(StoredKernel kernel)
    {
        Stdout.WriteLine($"vmm run loads  {(kernel.Modules.Count == 0 ? "nothing" : string.Join(", ", kernel.Modules.Keys))}, as far as a run needs it");
        foreach ((string name, string consequence) in GuestModules.MissingIn(kernel))
        {
            Stdout.WriteLine($"vmm run lacks  {name}: {consequence}");
        }
    }
}
