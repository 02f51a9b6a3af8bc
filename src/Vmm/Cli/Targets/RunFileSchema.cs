using System.CommandLine;
using System.Text;
using System.Text.Json;

namespace Vmm.Cli.Targets;

/// <summary><c>docs/vmm.schema.json</c>: what a vmm.json may hold (JSON Schema, 2020-12), for editors. From the options' own
/// descriptions.</summary>
internal static class RunFileSchema
{
    public static string Format(RunFileKeys keys)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes, new JsonWriterOptions
        {
            Indented = true,
            NewLine = "\n",
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        }))
        {
            json.WriteStartObject();
            json.WriteString("$schema", "https://json-schema.org/draft/2020-12/schema");
            json.WriteString("title", "vmm.json: options and targets of 'vmm run'");
            json.WriteString("type", "object");
            json.WriteBoolean("additionalProperties", false);
            json.WriteStartObject("properties");
            Property(json, "$schema", "string", "Where this schema is, for editors");
            json.WriteStartObject("defaults");
            json.WriteString("description", "Options of every run; those of a target and of the command line come before them");
            Target(json, keys, isDefault: true);
            json.WriteEndObject();
            json.WriteStartObject("targets");
            json.WriteString("description", "What 'vmm run NAME' runs");
            json.WriteString("type", "object");
            json.WriteStartObject("propertyNames");
            json.WriteString("pattern", "^[^-\\s]\\S*$");
            json.WriteEndObject();
            json.WriteStartObject("additionalProperties");
            Target(json, keys, isDefault: false);
            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(bytes.ToArray()) + "\n";
    }

    private static void Target(Utf8JsonWriter json, RunFileKeys keys, bool isDefault)
    {
        json.WriteString("type", "object");
        json.WriteBoolean("additionalProperties", false);
        json.WriteStartObject("properties");
        Property(json, RunFileKeys.Description, "string", "What it is for, for readers of this file");
        json.WriteStartObject(RunFileKeys.Command);
        json.WriteString("description", "The command: a list of words, or one text for sh -c");
        OneOrMore(json, false, "string");
        json.WriteEndObject();
        foreach (Option option in keys.Options.Where(option => isDefault || !keys.IsOfCall(option)))
        {
            json.WriteStartObject(RunFileKeys.KeyOf(option));
            json.WriteString("description", option.Description);
            if (option.ValueType == typeof(bool))
            {
                json.WriteString("type", "boolean");
            }
            else if (option.Arity.MaximumNumberOfValues == 1)
            {
                Types(json, "string", "number");
            }
            else
            {
                OneOrMore(json, option.Name == RunFileKeys.Environment, "string", "number");
            }

            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    private static void Property(Utf8JsonWriter json, string name, string type, string description)
    {
        json.WriteStartObject(name);
        json.WriteString("description", description);
        json.WriteString("type", type);
        json.WriteEndObject();
    }

    /// <summary>One, or a list; variables may be an object, too.</summary>
    private static void OneOrMore(Utf8JsonWriter json, bool orObject, params ReadOnlySpan<string> types)
    {
        Types(json, [.. types, "array", .. orObject ? (ReadOnlySpan<string>)["object"] : []]);
        json.WriteStartObject("items");
        Types(json, types);
        json.WriteEndObject();
        if (orObject)
        {
            json.WriteStartObject("additionalProperties");
            Types(json, types);
            json.WriteEndObject();
        }
    }

    private static void Types(Utf8JsonWriter json, params ReadOnlySpan<string> types)
    {
        if (types.Length == 1)
        {
            json.WriteString("type", types[0]);
            return;
        }

        json.WriteStartArray("type");
        foreach (string type in types)
        {
            json.WriteStringValue(type);
        }

        json.WriteEndArray();
    }
}
