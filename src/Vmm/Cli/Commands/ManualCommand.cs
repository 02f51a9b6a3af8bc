using System.CommandLine;
using Vmm.Boot;
using Vmm.Cli.Targets;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm manual man DIRECTORY</c> writes a manual page for each command; <c>vmm manual markdown</c> prints
/// docs/reference.md, <c>vmm manual schema</c> docs/vmm.schema.json. For <c>make install</c> and those who change options.</summary>
internal static class ManualCommand
{
    public static Command Create(CommandTree tree)
    {
        var format = new Argument<string>("FORMAT") { Description = "man, markdown or schema", HelpName = "man|markdown|schema" };
        var directory = new Argument<string>("DIRECTORY")
        {
            Description = "Where manual pages go; must exist",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var command = new Command("manual", "Write the manual pages, or print the reference") { Hidden = true };
        command.Arguments.Add(format);
        command.Arguments.Add(directory);
        command.SetAction(result =>
        {
            switch (result.GetRequiredValue(format), result.GetValue(directory))
            {
                case ("man", { } path):
                    WritePages(tree.Root, path);
                    break;
                case ("markdown", null):
                    Stdout.Write(Reference.Format(tree.Root));
                    break;
                case ("schema", null):
                    Stdout.Write(RunFileSchema.Format(RunManyOptions.KeysOf(CommandTree.FindCommand(tree.Root, "run")!)));
                    break;
                default:
                    throw CommandLineCheck.Wrong(
                        command, "there are: vmm manual man DIRECTORY, vmm manual markdown, vmm manual schema");
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static void WritePages(Command root, string directory)
    {
        foreach (Command each in Reference.Commands(root))
        {
            string path = Path.Combine(directory, ManPage.NameOf(each) + ".1");
            try
            {
                File.WriteAllText(path, ManPage.Format(each, VersionCommand.Version));
            }
            catch (Exception error) when (FileErrors.Describe(error) is { } why)
            {
                throw new UsageException($"{path}: {why}");
            }
        }
    }
}
