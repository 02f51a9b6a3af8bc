using System.Text.Json;
using System.Text.Json.Serialization;

namespace Vmm.Control;

/// <summary>What a client asks for: one JSON object on a line. docs/control.schema.json has all of it.</summary>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed record ControlRequest
{
    /// <summary>The client's own number for it, which its reply has; null where it wants none.</summary>
    public ulong? Id { get; init; }

    /// <summary>As <c>status</c>; <see cref="MachineControl"/> has them all.</summary>
    public required string Command { get; init; }

    public JsonElement? Arguments { get; init; }
}

/// <summary>The answer to a request: a result or an error.</summary>
internal sealed record ControlReply
{
    public ulong? Id { get; init; }

    public JsonElement? Result { get; init; }

    public ControlError? Error { get; init; }
}

/// <param name="Code">For programs: <c>bad-request</c>, <c>unknown-command</c>, <c>bad-arguments</c>, <c>not-now</c>, <c>no-stream</c>,
/// <c>forbidden</c>, <c>busy</c>, <c>failed</c>.</param>
/// <param name="Message">One line for people.</param>
internal sealed record ControlError(string Code, string Message);

/// <summary>The first line of every connection.</summary>
internal sealed record ControlGreeting
{
    public const int CurrentProtocol = 1;

    /// <summary>Raised when a client of the last version would misunderstand this one.</summary>
    public required int Protocol { get; init; }

    public required string Vmm { get; init; }

    public required int Pid { get; init; }

    public string? Name { get; init; }
}

/// <summary>Something that happens unasked.</summary>
internal sealed record ControlEvent
{
    /// <summary><c>state</c>, <c>complaint</c>, <c>ended</c>; of a stream <c>output</c>, <c>lost</c>, <c>credit</c>,
    /// <c>input-closed</c>, <c>exited</c>.</summary>
    public required string Event { get; init; }

    /// <summary>Of <c>state</c>.</summary>
    public MachineCondition? State { get; init; }

    /// <summary>Of <c>complaint</c>, as <c>KASAN</c>; of <c>ended</c>, as <c>powered-off</c>.</summary>
    public string? Kind { get; init; }

    /// <summary>Of <c>complaint</c>: what the guest's kernel said.</summary>
    public string? Text { get; init; }

    /// <summary>Of <c>ended</c>: what vmm exits with.</summary>
    public int? Code { get; init; }

    /// <summary>Of <c>ended</c>: for people.</summary>
    public string? Message { get; init; }

    public uint? Stream { get; init; }

    /// <summary>Of <c>output</c>: 1 or 2.</summary>
    public int? Fd { get; init; }

    /// <summary>Of <c>output</c>, base64.</summary>
    public byte[]? Data { get; init; }

    /// <summary>Of <c>credit</c>: so much more input may come. Of <c>lost</c>: so much was left out here.</summary>
    public long? Bytes { get; init; }

    /// <summary>Of <c>exited</c>: <c>exit</c>, <c>signal</c>, <c>exec</c>, <c>directory</c>, <c>user</c>, <c>resources</c>, <c>rewound</c>.
    /// </summary>
    public string? How { get; init; }

    /// <summary>Of <c>exited</c>: exit code, signal or errno.</summary>
    public uint? Value { get; init; }

    /// <param name="kind">As <c>PoweredOff</c>.</param>
    /// <param name="code">What vmm exits with.</param>
    public static ControlEvent Ended(string kind, int code, string message) => new()
    {
        Event = "ended",
        Kind = JsonNamingPolicy.KebabCaseLower.ConvertName(kind),
        Code = code,
        Message = message,
    };
}

/// <summary>The result of what has none.</summary>
internal sealed record ControlDone;

[JsonConverter(typeof(JsonStringEnumConverter<MachineCondition>))]
internal enum MachineCondition
{
    /// <summary>Of <c>vmm run</c>: its command does not run yet.</summary>
    [JsonStringEnumMemberName("booting")]
    Booting,
    [JsonStringEnumMemberName("running")]
    Running,
    [JsonStringEnumMemberName("paused")]
    Paused,

    /// <summary>It was asked to end.</summary>
    [JsonStringEnumMemberName("stopping")]
    Stopping,
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlReply))]
[JsonSerializable(typeof(ControlGreeting))]
[JsonSerializable(typeof(ControlEvent))]
[JsonSerializable(typeof(ControlStatus))]
[JsonSerializable(typeof(ControlStatistics))]
[JsonSerializable(typeof(ControlDone))]
[JsonSerializable(typeof(ControlStopping))]
[JsonSerializable(typeof(ControlSaved))]
[JsonSerializable(typeof(ControlForkPlan))]
[JsonSerializable(typeof(ControlForked))]
[JsonSerializable(typeof(ControlRewound))]
[JsonSerializable(typeof(ControlOpened))]
[JsonSerializable(typeof(ConsoleArguments))]
[JsonSerializable(typeof(ExecArguments))]
[JsonSerializable(typeof(StopArguments))]
[JsonSerializable(typeof(DiskArguments))]
[JsonSerializable(typeof(BalloonArguments))]
[JsonSerializable(typeof(SnapshotArguments))]
[JsonSerializable(typeof(ForkArguments))]
[JsonSerializable(typeof(InputArguments))]
[JsonSerializable(typeof(CreditArguments))]
[JsonSerializable(typeof(SignalArguments))]
[JsonSerializable(typeof(ResizeArguments))]
[JsonSerializable(typeof(CloseArguments))]
internal sealed partial class ControlJson : JsonSerializerContext;
