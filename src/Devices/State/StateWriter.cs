using System.Buffers;
using System.Text.Json;

namespace Vmm.Devices.State;

/// <summary>Writes a saved state: one JSON object, of named fields.</summary>
/// <remarks>JSON, because states are small (guest memory is not in them) and people can read and compare them. Written by hand
/// and not by a serializer, so that each field is named in one place, and errors have the same name.</remarks>
public sealed class StateWriter : IDisposable
{
    private readonly Utf8JsonWriter _json;

    /// <param name="output">Gets the bytes, all of them once this is disposed.</param>
    public StateWriter(IBufferWriter<byte> output)
    {
        _json = new Utf8JsonWriter(output);
        _json.WriteStartObject();
    }

    /// <summary>The state of one part, on its own.</summary>
    public static byte[] Save(ISavedState part)
    {
        var output = new ArrayBufferWriter<byte>();
        using (var writer = new StateWriter(output))
        {
            part.Save(writer);
        }

        return output.WrittenSpan.ToArray();
    }

    /// <summary>The version of an object's fields, first in each.</summary>
    public void Version(int version) => Write("version", (ulong)version);

    public void Write(string name, ulong value) => _json.WriteNumber(name, value);

    public void Write(string name, long value) => _json.WriteNumber(name, value);

    public void Write(string name, int value) => _json.WriteNumber(name, value);

    public void Write(string name, uint value) => _json.WriteNumber(name, value);

    public void Write(string name, bool value) => _json.WriteBoolean(name, value);

    public void Write(string name, string value) => _json.WriteString(name, value);

    public void Write(string name, ReadOnlySpan<byte> bytes) => _json.WriteBase64String(name, bytes);

    public void Write(string name, ISavedState part) => Write(name, part.Save);

    /// <summary>An object of fields of its own.</summary>
    public void Write(string name, Action<StateWriter> fields)
    {
        _json.WriteStartObject(name);
        fields(this);
        _json.WriteEndObject();
    }

    /// <summary>A list of objects.</summary>
    public void Write<T>(string name, IEnumerable<T> items, Action<StateWriter, T> fields)
    {
        _json.WriteStartArray(name);
        foreach (T item in items)
        {
            _json.WriteStartObject();
            fields(this, item);
            _json.WriteEndObject();
        }

        _json.WriteEndArray();
    }

    public void Dispose()
    {
        _json.WriteEndObject();
        _json.Dispose();
    }
}
