using System.CommandLine;
using Vmm.Backends.Console;
using Vmm.Run.Exec;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm attach MACHINE</c>: the console of a machine that runs.</summary>
internal static class AttachCommand
{
    public static Command Create()
    {
        var machine = new Argument<string>("MACHINE") { Description = "Its name, or the path of its control socket (--control)" };
        var noInput = new Option<bool>("--no-stdin") { Description = "Only look on: standard input is not read" };
        var command = new Command("attach", "Be at the console of a machine that runs; Ctrl-P Ctrl-Q leaves it");
        command.Arguments.Add(machine);
        command.Options.Add(noInput);
        command.SetAction(result =>
        {
            string name = result.GetRequiredValue(machine);
            bool hasInput = !result.GetValue(noInput);
            return StreamCalls.Run(() => new StreamCall
            {
                Path = ControlAddress.Resolve(name),
                Name = name,
                Terminal = hasInput && Terminal.TryOpen(0) is not null,
                Input = hasInput,
            });
        });
        return command;
    }
}
