namespace Vmm.Named;

/// <summary>One run of a machine, from a start to its end.</summary>
internal sealed record MachineRun
{
    /// <summary>When it was up; null if it never was.</summary>
    public DateTimeOffset? Started { get; init; }

    /// <summary>How it came to that, in order.</summary>
    public IReadOnlyList<StartStep> Steps { get; init => field = value ?? []; } = [];

    /// <summary>When it ended; null while it runs, and if its vmm was killed.</summary>
    public DateTimeOffset? Ended { get; init; }

    /// <summary>What its vmm ended with; null where it has not ended, or was killed.</summary>
    public int? ExitCode { get; init; }

    /// <summary>How it ended, for people; null likewise.</summary>
    public string? Verdict { get; init; }
}
