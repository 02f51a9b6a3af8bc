using Vmm.Insight.Complaints;

namespace Vmm.Run.Results;

/// <summary>The reports that a run writes besides its streams and its exit code.</summary>
internal sealed record RunReports
{
    /// <summary>Internal option instead of <c>--result</c>: a vmm that does many runs passes each of them the file for its
    /// result. The file is temporary, and messages that are the same for all runs are left out.</summary>
    public const string OneOfMany = "--one-of-many";

    /// <summary>Is it a run of many?</summary>
    public bool IsOneOfMany { get; init; }

    /// <summary>The complaints that fail a run by default (<c>--fail-on</c>).</summary>
    public static IReadOnlySet<ComplaintKind> Usual { get; } =
        new HashSet<ComplaintKind> { ComplaintKind.Panic, ComplaintKind.Oops, ComplaintKind.Bug, ComplaintKind.Kasan };

    /// <summary>The run's name; null for its command.</summary>
    public string? Name { get; init; }

    /// <summary>A file for <see cref="RunResult"/> as JSON.</summary>
    public string? Result { get; init; }

    /// <summary>A file for JUnit XML.</summary>
    public string? JUnit { get; init; }

    /// <summary>A file for the console.</summary>
    public string? Log { get; init; }

    /// <summary>A directory for all of these when the run fails.</summary>
    public string? Bundle { get; init; }

    /// <summary>Look for test results in the command's output.</summary>
    public bool Ktap { get; init; }

    public IReadOnlySet<ComplaintKind> FailOn { get; init; } = Usual;
}
