using Vmm.Insight.Complaints;

namespace Vmm.Run.Results;

/// <summary>What a run is to tell besides its streams and its exit code.</summary>
internal sealed record RunReports
{
    /// <summary>In place of <c>--result</c>, by which a vmm that does many runs tells each of them where its result goes: the file
    /// is gone afterwards, and what is the same for all was said already. No option for people.</summary>
    public const string OneOfMany = "--one-of-many";

    /// <summary>Is it a run of many?</summary>
    public bool IsOneOfMany { get; init; }

    /// <summary>What turns into a verdict unless <c>--fail-on</c> says otherwise.</summary>
    public static IReadOnlySet<ComplaintKind> Usual { get; } =
        new HashSet<ComplaintKind> { ComplaintKind.Panic, ComplaintKind.Oops, ComplaintKind.Bug, ComplaintKind.Kasan };

    /// <summary>What the run is called; null for its command.</summary>
    public string? Name { get; init; }

    /// <summary>A file for <see cref="RunResult"/> as JSON.</summary>
    public string? Result { get; init; }

    /// <summary>A file for JUnit XML.</summary>
    public string? JUnit { get; init; }

    /// <summary>A file for the console.</summary>
    public string? Log { get; init; }

    /// <summary>A directory that gets all of it when the run fails.</summary>
    public string? Bundle { get; init; }

    /// <summary>Look for test results in the command's output.</summary>
    public bool Ktap { get; init; }

    public IReadOnlySet<ComplaintKind> FailOn { get; init; } = Usual;
}
