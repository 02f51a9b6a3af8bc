using System.Text.Json;
using System.Text.Json.Nodes;
using Vmm.Daemon.Tests.StandIns;
using Vmm.Tests.Shared;

namespace Vmm.Daemon.Tests.Api;

public sealed class DescriptionTests
{
    private static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static string Path => System.IO.Path.Combine(SourceTree.Root, "docs", "vmmd.openapi.json");

    /// <summary>To write it anew: VMMD_OPENAPI=write with this test.</summary>
    [Fact]
    public async Task The_description_in_docs_is_what_the_server_gives()
    {
        using var homes = new TestHomes();
        await using TestDaemon daemon = await TestDaemon.StartAsync(homes);
        string given = JsonNode.Parse(await daemon.Client.GetStringAsync("/openapi/v1.json"))!.ToJsonString(Indented) + "\n";
        if (Environment.GetEnvironmentVariable("VMMD_OPENAPI") == "write")
        {
            await File.WriteAllTextAsync(Path, given);
        }

        Assert.Equal(await File.ReadAllTextAsync(Path), given);
    }

    /// <summary>A client that was generated refuses an answer without what is required; vmmd leaves out what is null.</summary>
    [Fact]
    public void What_may_be_missing_is_not_required()
    {
        JsonObject schemas = JsonNode.Parse(File.ReadAllText(Path))!["components"]!["schemas"]!.AsObject();
        foreach ((string name, JsonNode? schema) in schemas)
        {
            string[] required = [.. (schema!["required"] as JsonArray ?? []).Select(static each => (string)each!)];
            foreach (string property in required)
            {
                string of = schema["properties"]![property]!.ToJsonString();
                Assert.False(of.Contains("\"null\"", StringComparison.Ordinal), $"{name}.{property} is required, and may be null: {of}");
            }
        }
    }
}
