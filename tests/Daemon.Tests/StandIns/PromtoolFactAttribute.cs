namespace Vmm.Daemon.Tests.StandIns;

/// <summary>A test that asks promtool: the one that PROMTOOL names (scripts/promtool fetches it), or that on PATH.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class PromtoolFactAttribute : FactAttribute
{
    public PromtoolFactAttribute() => Skip = Program is null ? "no promtool here: PROMTOOL=$(scripts/promtool) fetches it" : null;

    /// <summary>Null for none.</summary>
    public static string? Program { get; } = new[] { Environment.GetEnvironmentVariable("PROMTOOL") }
        .Concat((Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(static each => Path.Combine(each, "promtool")))
        .FirstOrDefault(File.Exists);
}
