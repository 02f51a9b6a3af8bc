using Vmm.Run.Results;

namespace Vmm.Run.Many;

/// <summary>What <c>vmm run --each</c> was asked for.</summary>
internal sealed record ManyOptions
{
    public required IReadOnlyList<string> Items { get; init; }

    /// <summary>As given, with {} in it.</summary>
    public required IReadOnlyList<string> Command { get; init; }

    /// <summary>The words for the vmm that runs one item, up to the command: the program, and the options of this one without those
    /// that are about many.</summary>
    public required IReadOnlyList<string> Vmm { get; init; }

    /// <summary>Most machines at a time.</summary>
    public required int Parallel { get; init; }

    /// <summary>Bytes that one machine may come to take.</summary>
    public required ulong Memory { get; init; }

    /// <summary>End all when one has failed.</summary>
    public bool FailFast { get; init; }

    /// <summary>Show the output of those that passed, too.</summary>
    public bool ShowAll { get; init; }

    /// <summary>Files for all of them together; <see cref="RunReports.Log"/> and <see cref="RunReports.Bundle"/> are directories.</summary>
    public required RunReports Reports { get; init; }
}
