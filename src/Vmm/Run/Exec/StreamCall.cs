using System.Text.Json;
using Vmm.Control;

namespace Vmm.Run.Exec;

/// <summary>What is wanted of a machine, for this process's standard streams.</summary>
internal sealed record StreamCall
{
    /// <summary>Of the control socket.</summary>
    public required string Path { get; init; }

    /// <summary>What the user calls the machine.</summary>
    public required string Name { get; init; }

    /// <summary>A process; null for the console.</summary>
    public ExecArguments? Exec { get; init; }

    /// <summary>Standard input is a terminal, to be used as one.</summary>
    public bool Terminal { get; init; }

    /// <summary>Read standard input?</summary>
    public bool Input { get; init; } = true;

    public ControlRequest Request(ulong id) => new()
    {
        Id = id,
        Command = Exec is null ? "console" : "exec",
        Arguments = Exec is null
            ? JsonSerializer.SerializeToElement(new ConsoleArguments(Replay: true), ControlJson.Default.ConsoleArguments)
            : Exec.ToJson(),
    };
}
