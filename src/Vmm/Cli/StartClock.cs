using System.Diagnostics;

namespace Vmm.Cli;

/// <summary>Measures the time since the process was started. Must be created first in Main.</summary>
/// <remarks>The kernel keeps the start of a process in ticks of 10 ms only. Before Main this process never waits, so the
/// processor time used by then is taken as the time since exec.</remarks>
internal sealed class StartClock
{
    private readonly long _main = Stopwatch.GetTimestamp();
    private readonly TimeSpan _beforeMain;

    public StartClock()
        : this(Environment.CpuUsage.TotalTime)
    {
    }

    private StartClock(TimeSpan beforeMain) => _beforeMain = beforeMain;

    /// <summary>For a machine that replaces another in the same process: its times count from now.</summary>
    public static StartClock Now => new(TimeSpan.Zero);

    /// <summary>When the process was started, as a Stopwatch timestamp.</summary>
    public long Exec => _main - (long)(_beforeMain.TotalSeconds * Stopwatch.Frequency);

    /// <summary>When this program began in the process, which an earlier one may have had before it.</summary>
    public long Main => _main;

    /// <summary>Milliseconds from exec to a Stopwatch timestamp.</summary>
    public double SinceExec(long timestamp) =>
        (_beforeMain + Stopwatch.GetElapsedTime(_main, timestamp)).TotalMilliseconds;
}
