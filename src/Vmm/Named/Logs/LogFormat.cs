using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace Vmm.Named.Logs;

/// <summary>The format of console.log: a line for each line of a machine's standard output or error, after its time and stream, in
/// the format of the Kubernetes container runtime's logs: <c>2026-11-27T08:00:00.000000Z stdout F text</c>. A line that is not
/// complete yet has P instead of F, and goes on with the next one of that stream.</summary>
/// <remarks>The output is bytes, not always text, and is kept unchanged. A line without such a front was written by a
/// vmm that had no log yet, or not any more.</remarks>
internal static class LogFormat
{
    public const string FileName = "console.log";

    /// <summary>The former log, after a new file was started.</summary>
    public const string OldFileName = FileName + ".1";

    /// <summary>Bytes that are in front of a line at most.</summary>
    public const int MostFront = 40;

    private const int TimeLength = 27;
    private const string TimeFormat = "yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'";

    /// <returns>Bytes written to <paramref name="into"/>.</returns>
    public static int WriteFront(Span<byte> into, DateTime time, bool isError, bool isWhole)
    {
        time.TryFormat(into, out int count, TimeFormat, CultureInfo.InvariantCulture);
        ReadOnlySpan<byte> rest = (isError, isWhole) switch
        {
            (false, true) => " stdout F "u8,
            (false, false) => " stdout P "u8,
            (true, true) => " stderr F "u8,
            (true, false) => " stderr P "u8,
        };
        rest.CopyTo(into[count..]);
        return count + rest.Length;
    }

    /// <summary>Parses a line.</summary>
    /// <param name="line">Without its line feed.</param>
    public static LogLine Read(ReadOnlySpan<byte> line)
    {
        const int Stream = TimeLength + 1, Tag = Stream + 7, Text = Tag + 2;
        if (line.Length >= Text && line[TimeLength] == ' ' && line[Tag - 1] == ' ' && line[Tag + 1] == ' '
            && line[Tag] is (byte)'F' or (byte)'P'
            && DateTime.TryParseExact(
                Encoding.ASCII.GetString(line[..TimeLength]), TimeFormat, CultureInfo.InvariantCulture,
                DateTimeStyles.AdjustToUniversal | DateTimeStyles.AssumeUniversal, out DateTime time))
        {
            bool isError = line[Stream..(Tag - 1)].SequenceEqual("stderr"u8);
            return new LogLine(time, isError, line[Tag] == 'F', Text);
        }

        return new LogLine(null, IsError: true, IsWhole: true, 0);
    }
}

/// <param name="Time">UTC; null where it is not known.</param>
/// <param name="IsWhole">A line feed belongs behind it.</param>
/// <param name="TextAt">Where the text begins.</param>
internal readonly record struct LogLine(DateTime? Time, bool IsError, bool IsWhole, int TextAt);
