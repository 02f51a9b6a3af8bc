using System.Text.Json.Serialization;

namespace Vmm.Run.Results;

/// <summary>How one run ended, for programs: what <c>--result</c> writes and what reports are made of.</summary>
/// <remarks>The names here are the file's; its schema is in docs/run-result.schema.json.</remarks>
internal sealed record RunResult
{
    public const int CurrentFormat = 1;

    /// <summary>Raised when a reader of the last format would misunderstand this one.</summary>
    public int Format { get; init; } = CurrentFormat;

    /// <summary>The run's name: its item of <c>--each</c>, its target in vmm.json, or the command.</summary>
    public required string Name { get; init; }

    public required IReadOnlyList<string> Command { get; init; }

    public required RunOutcome Verdict { get; init; }

    /// <summary>vmm's exit code.</summary>
    public required int Code { get; init; }

    /// <summary>The command's own, 128 + N for signal N; null where it never ended by itself.</summary>
    public int? CommandCode { get; init; }

    /// <summary>One line for the user; null where the command's own exit code is enough.</summary>
    public string? Message { get; init; }

    public required DateTimeOffset Started { get; init; }

    public required RunTimes Times { get; init; }

    public required RunKernel Kernel { get; init; }

    /// <summary>The first complaints of the guest's kernel.</summary>
    public IReadOnlyList<RunComplaint> Complaints { get; init; } = [];

    /// <summary>The test cases found in the command's output (KTAP, TAP); empty where none were looked for.</summary>
    public IReadOnlyList<TestCase> Tests { get; init; } = [];

    /// <summary>The last lines of the guest's console, where they explain the result.</summary>
    public IReadOnlyList<string> Console { get; init; } = [];
}

/// <summary>The kinds of ends, in the order of how much went wrong.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<RunOutcome>))]
internal enum RunOutcome
{
    /// <summary>The command ended with 0.</summary>
    [JsonStringEnumMemberName("passed")]
    Passed,

    /// <summary>The command ended with another code, or a signal ended it.</summary>
    [JsonStringEnumMemberName("failed")]
    Failed,

    /// <summary>The command ended with 0, and a test in its output failed.</summary>
    [JsonStringEnumMemberName("tests-failed")]
    TestsFailed,

    /// <summary>The kernel complained of what <c>--fail-on</c> names.</summary>
    [JsonStringEnumMemberName("complained")]
    Complained,

    [JsonStringEnumMemberName("timed-out")]
    TimedOut,

    /// <summary>The command was not started: the boot failed, or the command could not be executed.</summary>
    [JsonStringEnumMemberName("not-started")]
    NotStarted,

    [JsonStringEnumMemberName("panicked")]
    Panicked,

    /// <summary>The guest crashed: triple fault, failed entry.</summary>
    [JsonStringEnumMemberName("crashed")]
    Crashed,

    /// <summary>It was ended by the user or a signal.</summary>
    [JsonStringEnumMemberName("stopped")]
    Stopped,

    /// <summary>vmm itself or its host failed.</summary>
    [JsonStringEnumMemberName("vmm-failed")]
    VmmFailed,
}

/// <summary>Seconds of each phase; null where it was not reached.</summary>
internal sealed record RunTimes
{
    /// <summary>From vmm's start to the first instruction of the guest.</summary>
    public double? Start { get; init; }

    /// <summary>From there until the command started.</summary>
    public double? Boot { get; init; }

    public double? Command { get; init; }

    public required double Total { get; init; }
}

/// <param name="Release">The release from the guest's uname; null when the agent did not connect.</param>
internal sealed record RunKernel(string Path, string? Release = null);

/// <param name="Kind">As <c>--fail-on</c> has it: <c>panic</c>, <c>KASAN</c>...</param>
/// <param name="Line">The number of the console's line, from 1.</param>
/// <param name="Text">The kernel's own words.</param>
/// <param name="Around">The console's lines around it.</param>
internal sealed record RunComplaint(string Kind, long Line, string Text, IReadOnlyList<string> Around);

/// <param name="Name">With the names of what it is part of before it: <c>net: tcp: connect</c>.</param>
/// <param name="Message">Why, in the test's own words; null for none.</param>
internal sealed record TestCase(string Name, TestOutcome Outcome, string? Message = null);

[JsonConverter(typeof(JsonStringEnumConverter<TestOutcome>))]
internal enum TestOutcome
{
    [JsonStringEnumMemberName("pass")]
    Pass,
    [JsonStringEnumMemberName("fail")]
    Fail,
    [JsonStringEnumMemberName("skip")]
    Skip,

    /// <summary>Expected to fail, or not yet done (XFAIL, TODO): does not count as failed.</summary>
    [JsonStringEnumMemberName("expected-fail")]
    ExpectedFail,
    [JsonStringEnumMemberName("timeout")]
    Timeout,

    /// <summary>The test itself is broken, or never came to its end.</summary>
    [JsonStringEnumMemberName("error")]
    Error,
}

internal static class TestOutcomes
{
    public static bool IsFailure(this TestOutcome outcome) => outcome is TestOutcome.Fail or TestOutcome.Timeout or TestOutcome.Error;
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    WriteIndented = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(RunResult))]
[JsonSerializable(typeof(IReadOnlyList<RunResult>))]
internal sealed partial class RunResultJson : JsonSerializerContext;
