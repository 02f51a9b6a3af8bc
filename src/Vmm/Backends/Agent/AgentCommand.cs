namespace Vmm.Backends.Agent;

/// <summary>A command to run in the guest.</summary>
internal sealed record AgentCommand
{
    /// <summary>The program, looked for in the guest's PATH, and its arguments.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary><c>NAME=VALUE</c>.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>Where it starts, in the guest; null for /.</summary>
    public string? Directory { get; init; }

    /// <summary><c>NAME[:GROUP]</c> or numbers; null for root.</summary>
    public string? User { get; init; }

    public AgentStartFlags Flags { get; init; }

    /// <summary>The size of its terminal, if it has one.</summary>
    public ushort Rows { get; init; }

    public ushort Columns { get; init; }
}
