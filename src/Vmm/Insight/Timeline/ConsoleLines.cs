using System.Diagnostics;
using Vmm.Devices.Legacy;

namespace Vmm.Insight.Timeline;

/// <summary>Splits the guest's console output into lines, with the time at which each ended.</summary>
/// <remarks>Bounded, as the guest may write any amount: a line keeps its first <see cref="LongestLine"/> bytes, and after
/// <see cref="MostLines"/> lines only their number is kept.</remarks>
internal sealed class ConsoleLines : IConsoleTap
{
    public const int LongestLine = 512;
    public const int MostLines = 20_000;

    private readonly byte[] _line = new byte[LongestLine];
    private readonly List<KernelLine> _lines = [];
    private readonly Func<long> _now;
    private readonly long _origin;
    private readonly Until? _until;
    private int _length;

    /// <param name="origin">The Stopwatch timestamp from which times count.</param>
    /// <param name="until">The text to wait for; null for none.</param>
    /// <param name="now">The clock, in Stopwatch timestamps; the system's if null. For tests.</param>
    public ConsoleLines(long origin, Until? until = null, Func<long>? now = null)
    {
        _origin = origin;
        _until = until;
        _now = now ?? Stopwatch.GetTimestamp;
    }

    /// <summary>The text to wait for has come. Raised once, on the vCPU's thread that wrote it.</summary>
    public event Action? Reached;

    public IReadOnlyList<KernelLine> Lines => _lines;

    /// <summary>Lines that came after the list was full.</summary>
    public long Dropped { get; private set; }

    /// <summary>When the first byte came, in nanoseconds; null if none did.</summary>
    public long? FirstByte { get; private set; }

    /// <summary>When the text to wait for came; null if it did not, or there was none.</summary>
    public long? ReachedAt { get; private set; }

    /// <summary>When a shell's prompt was seen first; null if none was.</summary>
    public long? PromptAt { get; private set; }

    public void Sent(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            FirstByte ??= Time;
            if (value == (byte)'\n')
            {
                Check(isWhole: true);
                End();
                continue;
            }

            if (value == (byte)'\r')
            {
                continue;
            }

            if (_length < LongestLine)
            {
                _line[_length++] = value;
                Check(isWhole: false);
            }
        }
    }

    private long Time => _now() - _origin;

    private void Check(bool isWhole)
    {
        ReadOnlySpan<byte> line = _line.AsSpan(0, _length);
        if (PromptAt is null && !isWhole && Milestones.IsPrompt(line))
        {
            PromptAt = Time;
        }

        if (_until is not null && ReachedAt is null && _until.IsReached(line, isWhole))
        {
            ReachedAt = Time;
            Reached?.Invoke();
        }
    }

    private void End()
    {
        if (_lines.Count < MostLines)
        {
            _lines.Add(KernelLine.Parse(Time, _line.AsSpan(0, _length)));
        }
        else
        {
            Dropped++;
        }

        _length = 0;
    }
}
