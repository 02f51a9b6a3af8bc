using System.Globalization;
using System.Text.Json;

namespace Vmm.Devices.State;

/// <summary>Reads one object of a saved state, which is not trusted: each field is there exactly once, with its type and within
/// its range, or the state is refused with the field's name.</summary>
public sealed class StateReader
{
    /// <summary>Bytes of a state; a machine of many devices has some hundred KiB.</summary>
    public const int MostBytes = 64 << 20;

    private const int MostDepth = 32;

    private readonly JsonElement _object;
    private readonly string _path;
    private readonly HashSet<string> _read = new(StringComparer.Ordinal);

    private StateReader(JsonElement element, string path)
    {
        _path = path;
        _object = element.ValueKind == JsonValueKind.Object ? element : throw new StateException(path, "is no object");
    }

    /// <param name="state">As <see cref="StateWriter"/> wrote it.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="StateException">It is no state at all.</exception>
    public static StateReader Parse(ReadOnlyMemory<byte> state, string name)
    {
        if (state.Length > MostBytes)
        {
            throw new StateException(name, $"has {state.Length} bytes; the most is {MostBytes}");
        }

        try
        {
            // (A document would use a pool, which keeps what it got for as long as vmm runs.)
            return new StateReader(JsonElement.Parse(state.Span, new JsonDocumentOptions { MaxDepth = MostDepth }), name);
        }
        catch (JsonException error)
        {
            throw new StateException(name, $"is damaged: {error.Message}");
        }
    }

    /// <summary>Loads a part's state.</summary>
    public static void Load(ReadOnlyMemory<byte> state, string name, ISavedState part)
    {
        StateReader reader = Parse(state, name);
        part.Load(reader);
        reader.End();
    }

    /// <summary>The version of the fields.</summary>
    /// <param name="known">The only one that can be read.</param>
    public void Version(int known)
    {
        ulong version = UInt64("version");
        if (version != (ulong)known)
        {
            throw Refuse("version", $"{version} is not known to this vmm ({known} is)");
        }
    }

    /// <summary>The version of the fields, where older ones can be read, too.</summary>
    /// <returns>Which it is.</returns>
    public int Version(int least, int most)
    {
        ulong version = UInt64("version");
        return version >= (ulong)least && version <= (ulong)most
            ? (int)version
            : throw Refuse("version", $"{version} is not known to this vmm ({least} to {most} are)");
    }

    public bool Boolean(string name) => Get(name).ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Refuse(name, "is neither true nor false"),
    };

    public ulong UInt64(string name, ulong least = 0, ulong most = ulong.MaxValue)
    {
        JsonElement value = Get(name);
        return value.ValueKind == JsonValueKind.Number && value.TryGetUInt64(out ulong number)
            && number >= least && number <= most
                ? number
                : throw Refuse(name, $"is no number from {least} to {most}");
    }

    public long Int64(string name, long least = long.MinValue, long most = long.MaxValue)
    {
        JsonElement value = Get(name);
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long number)
            && number >= least && number <= most
                ? number
                : throw Refuse(name, $"is no number from {least} to {most}");
    }

    public uint UInt32(string name, uint most = uint.MaxValue) => (uint)UInt64(name, 0, most);

    public ushort UInt16(string name) => (ushort)UInt64(name, 0, ushort.MaxValue);

    public byte UInt8(string name, byte most = byte.MaxValue) => (byte)UInt64(name, 0, most);

    /// <summary>A register of which only some bits exist.</summary>
    public uint Bits(string name, uint existing)
    {
        uint value = UInt32(name);
        return (value & ~existing) == 0
            ? value
            : throw Refuse(name, string.Create(CultureInfo.InvariantCulture, $"0x{value:x} has bits besides 0x{existing:x}"));
    }

    /// <param name="name">The field.</param>
    /// <param name="least">Bytes.</param>
    /// <param name="most">Bytes.</param>
    public byte[] Bytes(string name, int least, int most)
    {
        JsonElement value = Get(name);
        return value.ValueKind == JsonValueKind.String && value.TryGetBytesFromBase64(out byte[]? bytes)
            && bytes.Length >= least && bytes.Length <= most
                ? bytes
                : throw Refuse(name, least == most ? $"is not {least} bytes" : $"is not {least} to {most} bytes");
    }

    /// <param name="name">The field.</param>
    /// <param name="mostLength">UTF-16 units.</param>
    public string String(string name, int mostLength)
    {
        JsonElement value = Get(name);
        return value.ValueKind == JsonValueKind.String && value.GetString() is { } text && text.Length <= mostLength
            ? text
            : throw Refuse(name, $"is no text of at most {mostLength} characters");
    }

    /// <summary>A part's state.</summary>
    public void Read(string name, ISavedState part)
    {
        StateReader fields = Object(name);
        part.Load(fields);
        fields.End();
    }

    /// <summary>An object of fields of its own; <see cref="End"/> it.</summary>
    public StateReader Object(string name) => new(Get(name), PathOf(name));

    /// <summary>Is there such a field? Only for what a state may lack.</summary>
    public bool Has(string name) => _object.TryGetProperty(name, out _);

    /// <summary>A list of objects; <see cref="End"/> each.</summary>
    public StateReader[] List(string name, int least, int most)
    {
        JsonElement value = Get(name);
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() < least || value.GetArrayLength() > most)
        {
            throw Refuse(name, least == most ? $"is no list of {least}" : $"is no list of {least} to {most}");
        }

        int index = 0;
        return [.. value.EnumerateArray().Select(item => new StateReader(item, $"{PathOf(name)}[{index++}]"))];
    }

    /// <summary>All fields have been read: whatever else is there, or is there twice, is refused.</summary>
    public void End()
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (JsonProperty property in _object.EnumerateObject())
        {
            string name = property.Name;
            if (!_read.Contains(name))
            {
                throw Refuse(Printable(name), "is no field of this version");
            }

            if (!seen.Add(name))
            {
                throw Refuse(name, "is there twice");
            }
        }
    }

    /// <summary>The exception to throw for a field.</summary>
    public StateException Refuse(string name, string problem) => new(PathOf(name), problem);

    private static string Printable(string name) =>
        new([.. name.Take(40).Select(static c => char.IsAsciiLetterOrDigit(c) ? c : '?')]);

    private string PathOf(string name) => $"{_path}.{name}";

    private JsonElement Get(string name)
    {
        _read.Add(name);
        return _object.TryGetProperty(name, out JsonElement value) ? value : throw Refuse(name, "is missing");
    }
}
