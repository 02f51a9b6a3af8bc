using Vmm.Insight.Timeline;
using Vmm.Named;
using Vmm.Named.Logs;

namespace Vmm.Daemon.Machines;

/// <summary>The runs of a machine: the steps that its vmm wrote down, and those that its console's log tells of.</summary>
internal static class RunHistory
{
    /// <summary>A guest may say anything: so many steps of a run are taken from its console, and so long lines.</summary>
    private const int MostSteps = 40, MostLine = 512;

    /// <param name="file">Of the machine.</param>
    /// <param name="directory">Of the machine; its log may be missing.</param>
    /// <returns>The last run first.</returns>
    public static IReadOnlyList<MachineRun> Of(MachineFile file, string directory)
    {
        List<MachineRun> runs = [.. file.Earlier ?? []];
        if (file.Started is not null || file.Ended is not null)
        {
            runs.Add(new MachineRun
            {
                Started = file.Started,
                Steps = file.Steps ?? [],
                Ended = file.Ended,
                ExitCode = file.ExitCode,
                Verdict = file.Verdict,
            });
        }

        if (!file.HasAgent)
        {
            AddMilestones(runs, directory);
        }

        runs.Reverse();
        return runs;
    }

    private static void AddMilestones(List<MachineRun> runs, string directory)
    {
        List<StartStep>[] found = [.. runs.Select(static _ => new List<StartStep>())];
        foreach ((DateTime time, string text) in Lines(directory))
        {
            int run = runs.FindLastIndex(each => each.Started?.UtcDateTime <= time);
            if (run >= 0 && found[run].Count < MostSteps && Milestones.Of(text) is { } name && found[run].TrueForAll(step => step.Name != name))
            {
                // It was up at its last step, and that moment is known by both clocks.
                double up = runs[run].Steps is [.., var last] ? last.At : 0;
                found[run].Add(new StartStep(name, Math.Round(up + (time - runs[run].Started!.Value.UtcDateTime).TotalSeconds, 6)));
            }
        }

        for (int run = 0; run < runs.Count; run++)
        {
            runs[run] = runs[run] with { Steps = [.. runs[run].Steps, .. found[run]] };
        }
    }

    private static IEnumerable<(DateTime Time, string Text)> Lines(string directory)
    {
        foreach (string name in (string[])[LogFormat.OldFileName, LogFormat.FileName])
        {
            byte[] all = Read(Path.Combine(directory, name));
            for (int at = 0; at < all.Length;)
            {
                int length = all.AsSpan(at).IndexOf((byte)'\n') is >= 0 and var found ? found : all.Length - at;
                ReadOnlySpan<byte> line = all.AsSpan(at, Math.Min(length, MostLine));
                at += length + 1;
                LogLine parts = LogFormat.Read(line);
                if (parts is { Time: { } time, IsError: false })
                {
                    yield return (time, KernelLine.Parse(0, line[parts.TextAt..]).Text);
                }
            }
        }
    }

    /// <summary>vmm keeps 8 MiB of a log at most.</summary>
    private static byte[] Read(string path)
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            byte[] all = new byte[Math.Min(file.Length, 9 << 20)];
            int count = file.ReadAtLeast(all, all.Length, throwOnEndOfStream: false);
            return all[..count];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
