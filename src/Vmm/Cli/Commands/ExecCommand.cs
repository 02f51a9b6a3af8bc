using System.CommandLine;
using Vmm.Backends.Console;
using Vmm.Control;
using Vmm.Host;
using Vmm.Run;
using Vmm.Run.Exec;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm exec MACHINE -- COMMAND</c>: another command in a machine of <c>vmm run</c>.</summary>
internal static class ExecCommand
{
    private const int StandardInput = 0;

    public static Command Create()
    {
        var words = new Argument<string[]>("MACHINE COMMAND")
        {
            Description = "The machine's name, or the path of its control socket; then the program and its arguments, behind --",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var interactive = new Option<bool>("--interactive", "-i") { Description = "Accepted for the habit: standard input always goes to the command" };
        var tty = new Option<bool>("--tty", "-t", "-it", "-ti")
        {
            Description = "Give the command a terminal; Ctrl-C three times within a second leaves it",
        };
        var env = new Option<string[]>("--env", "-e")
        {
            Description = "A variable for the command, or one of this environment, beside those of the machine's own command; may be given "
                + "several times",
            HelpName = "NAME[=VALUE]",
        };
        var user = new Option<string>("--user", "-u")
        {
            Description = "Who runs the command, by name or number; who runs the machine's own command if not given",
            HelpName = "USER[:GROUP]",
        };
        var workdir = new Option<string>("--workdir", "-w") { Description = "Where the command starts, in the guest", HelpName = "DIRECTORY" };
        var command = new Command("exec", "Run one more command in a machine of 'vmm run', and end with its exit code");
        command.Arguments.Add(words);
        foreach (Option option in (Option[])[interactive, tty, env, user, workdir])
        {
            command.Options.Add(option);
        }

        command.SetAction(result => StreamCalls.Run(() => CommandLineCheck.Read(command, () =>
        {
            if (result.GetValue(words) is not [var machine, .. { Length: > 0 } program])
            {
                throw new UsageException("a machine and a command are needed: vmm exec db -- uname -a");
            }

            bool isTerminal = result.GetValue(tty);
            (ushort rows, ushort columns) = isTerminal ? Terminal.SizeOf(StandardInput) : default;
            return new StreamCall
            {
                Path = ControlAddress.Resolve(machine),
                Name = machine,
                Terminal = isTerminal,
                Exec = new ExecArguments
                {
                    Args = program,
                    Env = Variables(BootCommand.All(result, env), isTerminal),
                    User = result.GetValue(user),
                    Cwd = result.GetValue(workdir),
                    Tty = isTerminal,
                    Rows = rows,
                    Columns = columns,
                },
            };
        })));
        return command;
    }

    private static string[] Variables(string[] given, bool isTerminal)
    {
        IEnumerable<string> asked = GuestVariables.Read(given).Select(static each => $"{each.Name}={each.Value}");
        return [.. isTerminal ? asked.Prepend($"TERM={GuestVariables.Term}") : asked];
    }
}
