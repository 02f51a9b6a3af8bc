using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Mvc;
using Vmm.Control;
using Vmm.Daemon.Observing;
using Vmm.Daemon.Quotas;

namespace Vmm.Daemon.Api;

/// <summary>All that goes in and out as JSON.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(MachineList))]
[JsonSerializable(typeof(MachineView))]
[JsonSerializable(typeof(MachineRuns))]
[JsonSerializable(typeof(MachineRequest))]
[JsonSerializable(typeof(MachineEvent))]
[JsonSerializable(typeof(ControlStatistics))]
[JsonSerializable(typeof(QuotaUse))]
[JsonSerializable(typeof(HealthView))]
[JsonSerializable(typeof(ProblemDetails))]
[JsonSerializable(typeof(HttpValidationProblemDetails))]
[JsonSerializable(typeof(JsonElement))]

// Of parameters, which the description has.
[JsonSerializable(typeof(string[]))]
[JsonSerializable(typeof(bool))]
[JsonSerializable(typeof(double))]
[JsonSerializable(typeof(ushort))]
internal sealed partial class ApiJson : JsonSerializerContext;
