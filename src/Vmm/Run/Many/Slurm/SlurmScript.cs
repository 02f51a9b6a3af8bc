using System.Globalization;
using System.Text;
using Vmm.Text;

namespace Vmm.Run.Many.Slurm;

/// <summary>The script of an array job: each task has the runs of one shard. The results of run I are in the files I.out,
/// I.json and, written last, I.code; I.node has the node's name.</summary>
internal static class SlurmScript
{
    /// <param name="directory">Where the files go: for this job alone.</param>
    /// <param name="shards">The indices of the runs of each task, by the task's index.</param>
    /// <param name="words">The command line of a run, by its index.</param>
    public static string Format(string directory, IEnumerable<KeyValuePair<int, IReadOnlyList<int>>> shards, Func<int, IReadOnlyList<string>> words)
    {
        // The code's file appears complete (mv), after all others. A failing run does not fail the task: otherwise later runs
        // would not start.
        var text = new StringBuilder(
            """
            #!/bin/sh
            run() {
                of=$1; shift
                echo "$SLURMD_NODENAME" >"$dir/$of.node"
                "$@" >"$dir/$of.out" 2>&1 </dev/null
                echo $? >"$dir/$of.end" && mv "$dir/$of.end" "$dir/$of.code"
            }

            """);
        text.Append("dir=").Append(ShellWord.Quote(directory)).Append("\ncase $SLURM_ARRAY_TASK_ID in\n");
        foreach ((int shard, IReadOnlyList<int> places) in shards)
        {
            text.Append(CultureInfo.InvariantCulture, $"{shard})\n");
            foreach (int place in places)
            {
                text.Append(CultureInfo.InvariantCulture, $"run {place} ").AppendJoin(' ', words(place).Select(ShellWord.Quote)).Append('\n');
            }

            text.Append(";;\n");
        }

        return text.Append("esac\nexit 0\n").ToString();
    }
}
