using System.CommandLine;
using System.Text;
using System.Text.Json;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Cli.Targets;

/// <summary><c>vmm.json</c>: options of <c>vmm run</c> for every run, and named targets. Comments and a comma behind the last of a
/// list are allowed. Its schema is docs/vmm.schema.json, made from the same table (<see cref="RunFileKeys"/>).</summary>
/// <remarks>Read by Utf8JsonReader, because errors name line and column, which a deserializer does not keep.</remarks>
internal sealed class RunFile
{
    public const string UsualName = "vmm.json";
    private const long MostBytes = 4 << 20;

    private readonly string _path;
    private readonly byte[] _bytes;
    private readonly RunFileKeys _keys;

    private RunFile(string path, byte[] bytes, RunFileKeys keys) => (_path, _bytes, _keys) = (path, bytes, keys);

    public RunTarget Defaults { get; private set; } = new("");

    /// <summary>In the order of the file.</summary>
    public List<RunTarget> Targets { get; } = [];

    /// <param name="path">The file.</param>
    /// <exception cref="UsageException">It cannot be read, or something in it is wrong: <c>vmm.json:3:5: no such key 'kernal'</c>.
    /// </exception>
    public static RunFile Read(string path, RunFileKeys keys)
    {
        byte[] bytes;
        try
        {
            bytes = new FileInfo(path).Length > MostBytes
                ? throw new UsageException($"{path}: larger than {MostBytes >> 20} MiB: no such file is a configuration")
                : File.ReadAllBytes(path);
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new UsageException($"--config {path}: {why}");
        }

        return Parse(path, bytes, keys);
    }

    /// <inheritdoc cref="Read"/>
    public static RunFile Parse(string path, byte[] bytes, RunFileKeys keys)
    {
        bytes = bytes.AsSpan().StartsWith((ReadOnlySpan<byte>)[0xef, 0xbb, 0xbf]) ? bytes[3..] : bytes;
        var file = new RunFile(path, bytes, keys);
        var reader = new Utf8JsonReader(bytes, new JsonReaderOptions
        {
            CommentHandling = JsonCommentHandling.Skip,
            AllowTrailingCommas = true,
        });
        try
        {
            file.ReadAll(ref reader);
        }
        catch (JsonException error)
        {
            long line = (error.LineNumber ?? 0) + 1, column = (error.BytePositionInLine ?? 0) + 1;
            throw new UsageException(
                $"{path}:{line}:{column}: not JSON from here on: a comma, a quote or a bracket is missing, or one too many");
        }

        return file;
    }

    /// <exception cref="UsageException">There is none of that name.</exception>
    public RunTarget Find(string name) => Targets.Find(each => each.Name == name)
        ?? throw new UsageException($"no such target '{name}' in {_path}"
            + Suggestion.DidYouMean(name, Targets.Select(each => each.Name))
            + $"; there are: {string.Join(", ", Targets.Select(each => each.Name))}; a command goes behind --");

    private void ReadAll(ref Utf8JsonReader reader)
    {
        reader.Read();
        Expect(ref reader, JsonTokenType.StartObject, "an object: { \"defaults\": { ... }, \"targets\": { ... } }");
        bool hasDefaults = false, hasTargets = false;
        while (NextKey(ref reader, out string key, out long at))
        {
            switch (key)
            {
                case "$schema":
                    Expect(ref reader, JsonTokenType.String, "text");
                    break;
                case "defaults" when !hasDefaults:
                    hasDefaults = true;
                    Defaults = ReadTarget(ref reader, "", isDefault: true);
                    break;
                case "targets" when !hasTargets:
                    hasTargets = true;
                    ReadTargets(ref reader);
                    break;
                case "defaults" or "targets":
                    throw Wrong(at, $"'{key}' is there twice");
                default:
                    throw Wrong(at, $"no such key '{key}'{Suggestion.DidYouMean(key, ["defaults", "targets", "$schema"])}; "
                        + "there are: defaults, targets, $schema");
            }
        }

        reader.Read();      // nothing may follow: the reader throws
    }

    private void ReadTargets(ref Utf8JsonReader reader)
    {
        Expect(ref reader, JsonTokenType.StartObject, "an object: { \"NAME\": { ... } }");
        while (NextKey(ref reader, out string name, out long at))
        {
            if (name.Length == 0 || name.StartsWith('-') || name.Any(each => char.IsControl(each) || char.IsWhiteSpace(each)))
            {
                throw Wrong(at, $"'{PrintableText.Of(name)}' is no name of a target: it takes no blanks, and no '-' in front");
            }

            if (Targets.Exists(each => each.Name == name))
            {
                throw Wrong(at, $"the target '{name}' is there twice");
            }

            Targets.Add(ReadTarget(ref reader, name, isDefault: false));
        }
    }

    private RunTarget ReadTarget(ref Utf8JsonReader reader, string name, bool isDefault)
    {
        Expect(ref reader, JsonTokenType.StartObject, "an object: { \"mem\": \"512M\", \"command\": [\"make\", \"check\"] }");
        var target = new RunTarget(name);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        while (NextKey(ref reader, out string key, out long at))
        {
            if (!seen.Add(key))
            {
                throw Wrong(at, $"'{key}' is there twice");
            }

            if (key == RunFileKeys.Command)
            {
                target.Command = ReadCommand(ref reader);
                continue;
            }

            if (key == RunFileKeys.Description)
            {
                Expect(ref reader, JsonTokenType.String, "text");
                continue;
            }

            Option option = _keys.Find(key)
                ?? throw Wrong(at, $"no such key '{PrintableText.Of(key)}'{Suggestion.DidYouMean(key, _keys.All)}");
            if (!isDefault && _keys.IsOfCall(option))
            {
                throw Wrong(at, $"'{key}' is of a whole call, not of one target: put it into \"defaults\"");
            }

            if (ReadValues(ref reader, option, key) is { } values)
            {
                target.Options.Add((option, values));
            }
        }

        return target;
    }

    /// <summary>A list of words, or one text that a shell runs.</summary>
    private List<string> ReadCommand(ref Utf8JsonReader reader)
    {
        if (reader.TokenType == JsonTokenType.String)
        {
            return ["sh", "-c", Text(ref reader), "sh"];
        }

        long at = reader.TokenStartIndex;
        List<string> words = ReadTexts(ref reader, "a list of words, or one text for sh -c");
        return words.Count > 0 ? words : throw Wrong(at, "a command has at least one word");
    }

    /// <returns>Null for a flag that is false.</returns>
    private List<string>? ReadValues(ref Utf8JsonReader reader, Option option, string key)
    {
        if (option.ValueType == typeof(bool))
        {
            return reader.TokenType switch
            {
                JsonTokenType.True => [],
                JsonTokenType.False => null,
                _ => throw Wrong(reader.TokenStartIndex, $"'{key}' takes true or false"),
            };
        }

        if (reader.TokenType == JsonTokenType.String || reader.TokenType == JsonTokenType.Number)
        {
            return [Text(ref reader)];
        }

        if (option.Arity.MaximumNumberOfValues == 1)
        {
            throw Wrong(reader.TokenStartIndex, $"'{key}' takes text: {option.HelpName}");
        }

        if (option.Name == RunFileKeys.Environment && reader.TokenType == JsonTokenType.StartObject)
        {
            var variables = new List<string>();
            while (NextKey(ref reader, out string name, out long at))
            {
                variables.Add(reader.TokenType is JsonTokenType.String or JsonTokenType.Number && !name.Contains('=', StringComparison.Ordinal)
                    ? $"{name}={Text(ref reader)}"
                    : throw Wrong(at, "a variable is \"NAME\": \"VALUE\""));
            }

            return variables;
        }

        return ReadTexts(ref reader, $"text, or a list of texts: {option.HelpName}");
    }

    private List<string> ReadTexts(ref Utf8JsonReader reader, string what)
    {
        Expect(ref reader, JsonTokenType.StartArray, what);
        var texts = new List<string>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            texts.Add(reader.TokenType is JsonTokenType.String or JsonTokenType.Number
                ? Text(ref reader)
                : throw Wrong(reader.TokenStartIndex, $"this takes {what}"));
        }

        return texts;
    }

    private string Text(ref Utf8JsonReader reader)
    {
        long at = reader.TokenStartIndex;
        string text;
        try
        {
            text = reader.TokenType == JsonTokenType.Number
                ? Encoding.UTF8.GetString(reader.ValueSpan)
                : reader.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw Wrong(at, "not UTF-8, or half of a surrogate pair");
        }

        return text.Contains('\0', StringComparison.Ordinal) ? throw Wrong(at, "text holds a NUL character") : text;
    }

    /// <summary>The next key of an object, with the reader at its value; false at the object's end.</summary>
    private bool NextKey(ref Utf8JsonReader reader, out string key, out long at)
    {
        reader.Read();
        at = reader.TokenStartIndex;
        if (reader.TokenType == JsonTokenType.EndObject)
        {
            key = "";
            return false;
        }

        key = Text(ref reader);
        reader.Read();
        return true;
    }

    private void Expect(ref Utf8JsonReader reader, JsonTokenType type, string what)
    {
        if (reader.TokenType != type)
        {
            throw Wrong(reader.TokenStartIndex, $"here goes {what}");
        }
    }

    private UsageException Wrong(long at, string message)
    {
        ReadOnlySpan<byte> before = _bytes.AsSpan(0, (int)at);
        int line = before.Count((byte)'\n') + 1;
        int column = Encoding.UTF8.GetCharCount(before[(before.LastIndexOf((byte)'\n') + 1)..]) + 1;
        return new UsageException($"{_path}:{line}:{column}: {message}");
    }
}

/// <summary>A set of options with a name; the defaults have none.</summary>
internal sealed class RunTarget(string name)
{
    public string Name { get; } = name;

    public List<(Option Option, IReadOnlyList<string> Values)> Options { get; } = [];

    /// <summary>Null where the file has none.</summary>
    public IReadOnlyList<string>? Command { get; set; }
}
