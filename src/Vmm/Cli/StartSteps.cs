using System.Diagnostics;
using Vmm.Named;

namespace Vmm.Cli;

/// <summary>The steps of a machine's start, for its record.</summary>
internal static class StartSteps
{
    /// <param name="firstEntry">When the guest's first instruction ran, as a Stopwatch timestamp.</param>
    /// <param name="marks">What came after that; a time of 0 is left out.</param>
    public static IReadOnlyList<StartStep> Of(StartClock clock, BackgroundMachine life, long firstEntry, params IEnumerable<(string Name, long Time)> marks)
    {
        // Executed again, the process has used processor time before, which Exec would count.
        long start = life.IsFirst ? clock.Exec : clock.Main;
        return
        [
            .. marks.Prepend(("first instruction", firstEntry)).Where(static mark => mark.Item2 != 0)
                .Select(mark => new StartStep(mark.Item1, Math.Round(Stopwatch.GetElapsedTime(start, mark.Item2).TotalSeconds, 6))),
        ];
    }
}
