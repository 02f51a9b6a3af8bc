using System.CommandLine;
using System.Text;
using System.Text.Json;
using Vmm.Control;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm ctl NAME|PATH COMMAND [JSON]</c>: asks a machine that runs for something.</summary>
internal static class CtlCommand
{
    private const string Example = "'{\"disk\":0,\"bytes\":2147483648}'";

    public static Command Create()
    {
        var machine = new Argument<string>("MACHINE") { Description = "Its name, or the path of its control socket (--control)" };
        var what = new Argument<string?>("COMMAND")
        {
            Description = "status, stats, pause, resume, power (presses the power button), stop (the same, and ends the machine where it "
                + "takes too long), kill, disk-resize, balloon, events (follows them)",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var arguments = new Argument<string?>("JSON")
        {
            Description = $"What the command needs: {Example}",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var events = new Option<bool>("--events") { Description = "Then print what happens, a line each, until the machine ends" };
        var command = new Command("ctl", "Ask something of a machine that runs, and print its answer as JSON");
        command.Arguments.Add(machine);
        command.Arguments.Add(what);
        command.Arguments.Add(arguments);
        command.Options.Add(events);
        command.SetAction(result =>
        {
            string name = result.GetRequiredValue(machine);
            string? asked = result.GetValue(what);
            bool follows = result.GetValue(events) || asked == "events";
            if (asked is null && !follows)
            {
                throw new UsageException("COMMAND is missing: vmm ctl MACHINE status", "vmm ctl");
            }

            JsonElement? given = result.GetValue(arguments) is { } text ? Parse(text) : null;
            using var client = new ControlClient(ControlAddress.Resolve(name), name);
            if (follows)
            {
                client.Happened = Stdout.WriteLine;
                client.Ask("events");
            }

            if (asked is not (null or "events"))
            {
                Stdout.WriteLine(client.Ask(asked, given).GetRawText());
            }

            if (follows)
            {
                OutputReader.Follow(() =>
                {
                    while (client.ReadLine(Timeout.InfiniteTimeSpan, OutputReader.Wait) is { } line)
                    {
                        Stdout.WriteLine(Encoding.UTF8.GetString(line));
                    }
                });
            }

            return ExitCodes.Success;
        });
        return command;
    }

    private static JsonElement Parse(string text)
    {
        try
        {
            return JsonElement.Parse(text);
        }
        catch (JsonException)
        {
            throw new UsageException($"{text}: is no JSON; write for instance {Example}", "vmm ctl");
        }
    }
}
