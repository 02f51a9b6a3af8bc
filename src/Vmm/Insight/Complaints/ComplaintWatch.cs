using Vmm.Backends.Console;
using Vmm.Devices.Legacy;

namespace Vmm.Insight.Complaints;

/// <summary>Searches the guest's console output for complaints of its kernel.</summary>
/// <remarks>For each byte it costs a copy into a line of fixed length, for each line a few vectorised searches; only a
/// complaint allocates, and a guest can make any number of them: handlers of the event bound how many they keep.</remarks>
internal sealed class ComplaintWatch : IConsoleTap
{
    /// <summary>Bytes of a line that are looked at together; what is longer is looked at in pieces.</summary>
    public const int LongestLine = 512;

    private readonly byte[] _line = new byte[LongestLine];
    private int _length;
    private long _lines;

    /// <summary>Raised on the vCPU's thread that wrote the line, once for each such line, in order.</summary>
    public event Action<Complaint>? Found;

    /// <summary>The kernel says that it restarts, halts or powers off as requested; raised as <see cref="Found"/> is.</summary>
    public event Action? OrderlyEnd;

    /// <inheritdoc/>
    public void Sent(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            // A carriage return alone begins a line anew, as a progress bar does.
            int end = bytes.IndexOfAny((byte)'\n', (byte)'\r');
            Append(end < 0 ? bytes : bytes[..end]);
            if (end < 0)
            {
                return;
            }

            EndLine();
            bytes = bytes[(end + 1)..];
        }
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > LongestLine - _length)
        {
            int room = LongestLine - _length;
            bytes[..room].CopyTo(_line.AsSpan(_length));
            _length = LongestLine;
            EndLine();
            bytes = bytes[room..];
        }

        bytes.CopyTo(_line.AsSpan(_length));
        _length += bytes.Length;
    }

    private void EndLine()
    {
        ReadOnlySpan<byte> line = _line.AsSpan(0, _length);
        _length = 0;
        if (line.IsEmpty)
        {
            return;
        }

        _lines++;

        if (ComplaintMatcher.Match(line, out int text) is { } kind)
        {
            Found?.Invoke(Complaint.Of(kind, _lines, line[text..]));
        }
        else if (ComplaintMatcher.IsOrderlyEnd(line))
        {
            OrderlyEnd?.Invoke();
        }
    }
}
