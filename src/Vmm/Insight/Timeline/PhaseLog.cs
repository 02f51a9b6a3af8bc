using System.Diagnostics;

namespace Vmm.Insight.Timeline;

/// <summary>The steps of making a machine, each with the time of its end.</summary>
internal sealed class PhaseLog
{
    private readonly List<(string Name, long End)> _steps = [];

    /// <summary>The steps in order; ends are Stopwatch timestamps.</summary>
    public IReadOnlyList<(string Name, long End)> Steps => _steps;

    /// <summary>Records that a step ends now.</summary>
    public void Done(string name) => _steps.Add((name, Stopwatch.GetTimestamp()));
}
