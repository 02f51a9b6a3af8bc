using System.Text.Json;
using Json.Schema;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Control;

/// <summary>docs/control.schema.json.</summary>
internal static class ControlSchema
{
    private static readonly string Text = File.ReadAllText(Path.Combine(SourceTree.Root, "docs/control.schema.json"));

    private static readonly JsonDocument Document = JsonDocument.Parse(Text);

    private static readonly Dictionary<string, JsonSchema> Parts = new(StringComparer.Ordinal);

    /// <summary>The commands that it has.</summary>
    public static IEnumerable<string> Commands => Document.RootElement.GetProperty("$defs").GetProperty("request").GetProperty("oneOf")
        .EnumerateArray().Select(static each => each.GetProperty("properties").GetProperty("command").GetProperty("const").GetString()!);

    /// <summary>The members of a part.</summary>
    public static IEnumerable<string> MembersOf(params string[] path) =>
        path.Aggregate(Document.RootElement.GetProperty("$defs"), static (at, name) => at.GetProperty(name)).GetProperty("properties")
            .EnumerateObject().Select(static each => each.Name);

    /// <param name="part">Of <c>$defs</c>: <c>reply</c>, <c>result-status</c>.</param>
    public static void Check(string part, string json)
    {
        lock (Parts)
        {
            if (!Parts.TryGetValue(part, out JsonSchema? schema))
            {
                // The whole document, with another way in.
                string id = $"https://vmm.invalid/{part}";
                schema = JsonSchema.FromText(
                    "{\"$id\":\"" + id + "\",\"$ref\":\"#/$defs/" + part + "\",\"$defs\":"
                        + Document.RootElement.GetProperty("$defs").GetRawText() + "}");
                Parts.Add(part, schema);
            }

            EvaluationResults result = schema.Evaluate(JsonElement.Parse(json), new EvaluationOptions { OutputFormat = OutputFormat.List });
            Assert.True(result.IsValid, $"{json} is no {part}: {JsonSerializer.Serialize(result)}");
        }
    }

    public static bool Takes(string part, string json)
    {
        try
        {
            Check(part, json);
            return true;
        }
        catch (Xunit.Sdk.XunitException)
        {
            return false;
        }
    }
}
