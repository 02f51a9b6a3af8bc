using System.Text.Json.Serialization;

namespace Vmm.Daemon.Api;

/// <summary>What a client of a WebSocket says as text: <c>end</c> of input, <c>signal</c>, <c>resize</c>.</summary>
internal sealed record StreamOrder
{
    public required string Type { get; init; }

    public int? Signal { get; init; }

    public ushort? Rows { get; init; }

    public ushort? Columns { get; init; }
}

/// <summary>The last that a client of exec hears: <c>exit</c> with its code, <c>signal</c> with its number, or why it did not
/// run.</summary>
internal sealed record ExitMessage(string How, uint Value, string Type = "exited");

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(StreamOrder))]
[JsonSerializable(typeof(ExitMessage))]
internal sealed partial class StreamJson : JsonSerializerContext;
