using System.CommandLine;
using Vmm.Boot.Inspect;
using Vmm.Kernels;
using Vmm.Machines;
using Vmm.Named;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm inspect FILE</c>: describes a kernel image, and what vmm would need that it lacks. <c>vmm inspect MACHINE</c>: all that is kept of
/// a machine with a name.</summary>
internal static class InspectCommand
{
    public static Command Create()
    {
        var file = new Argument<string>("FILE|MACHINE")
        {
            Description = "A bzImage, a vmlinux or another kernel; a machine, as 'vmm ps -a' lists them; or a kernel's name, as --kernel takes it",
        };
        var json = new Option<bool>("--json") { Description = "Print it for programs, as a machine's always is" };
        var command = new Command("inspect", "Tell what a kernel image is and what it lacks, or all about a machine");
        command.Arguments.Add(file);
        command.Options.Add(json);
        command.SetAction(result =>
        {
            if (MachineNamed(result.GetRequiredValue(file)) is { } machine)
            {
                return MachineCommands.ForEach([machine], static (_, folder) => Stdout.Write(MachineReport.Of(folder)));
            }

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

    /// <summary>A file comes first, then a machine, then a kernel's name.</summary>
    private static string? MachineNamed(string word) =>
        MachineName.IsValid(word) && !File.Exists(word) && MachineStore.TryDefault is { } store && store.Has(word) ? word : null;

    /// <summary>The modules of a stored kernel, which vmm run loads.</summary>
    private static void WriteModules(StoredKernel kernel)
    {
        Stdout.WriteLine($"vmm run loads  {(kernel.Modules.Count == 0 ? "nothing" : string.Join(", ", kernel.Modules.Keys))}, as far as a run needs it");
        foreach ((string name, string consequence) in GuestModules.MissingIn(kernel))
        {
            Stdout.WriteLine($"vmm run lacks  {name}: {consequence}");
        }
    }
}
