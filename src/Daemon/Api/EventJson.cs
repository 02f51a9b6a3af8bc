using System.Text.Json.Serialization;

namespace Vmm.Daemon.Api;

/// <summary>An event is one line.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(MachineEvent))]
internal sealed partial class EventJson : JsonSerializerContext;
