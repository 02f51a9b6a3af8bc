using System.Globalization;
using Vmm.Host;

namespace Vmm.Run.Many.Slurm;

/// <summary>sbatch(1), squeue(1) and scancel(1).</summary>
internal static class SlurmTools
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    // Slurm's states of jobs that have ended (squeue(1), JOB STATE CODES).
    private static readonly HashSet<string> Over = new(StringComparer.Ordinal)
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT",
    };

    /// <summary>Submits an array job.</summary>
    /// <returns>Its number.</returns>
    /// <exception cref="HostException">There is no Slurm, or it refuses.</exception>
    public static string Submit(IReadOnlyList<string> arguments)
    {
        (int code, string said) = Run("sbatch", arguments);

        // --parsable: the number, and ;CLUSTER where there are several. Warnings may stand before it.
        string last = said.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault() ?? "";
        string job = last.Split(';')[0];
        return code == 0 && job.Length > 0 && job.All(char.IsAsciiDigit)
            ? job
            : throw new HostException($"--on slurm: sbatch: {(last.Length > 0 ? last : $"it ended with {code}")}");
    }

    /// <summary>The tasks of a job, as <c>COMPLETED</c> or <c>RUNNING</c>, with their nodes.</summary>
    /// <returns>By index; empty when Slurm has dropped the job; null when it does not answer now.</returns>
    public static Dictionary<int, (string State, string Node)>? Tasks(string job)
    {
        (int code, string said) = Run("squeue", ["-h", "-r", "-t", "all", "-j", job, "-o", "%K|%T|%N"]);
        if (code != 0)
        {
            return said.Contains("Invalid job id", StringComparison.Ordinal) ? [] : null;
        }

        var tasks = new Dictionary<int, (string, string)>();
        foreach (string line in said.Split('\n', StringSplitOptions.TrimEntries))
        {
            if (line.Split('|') is [var index, var state, var node]
                && int.TryParse(index, NumberStyles.None, CultureInfo.InvariantCulture, out int number))
            {
                tasks[number] = (state, node);
            }
        }

        return tasks;
    }

    public static bool IsOver(string state) => Over.Contains(state);

    public static void Cancel(string job) => Run("scancel", [job]);

    private static (int Code, string Said) Run(string program, IReadOnlyList<string> arguments)
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        using (read)
        {
            int pid;
            using (write)
            {
                pid = ChildProcess.Start(program, arguments, write.Number, write.Number, ownGroup: true, write.Number)
                    ?? throw new HostException(
                        $"--on slurm: {program} is not installed; {PackageManager.Install("slurm-client", "slurm")}, and the engine's slurm.conf");
            }

            string? said = ChildProcess.ReadToEnd(read, Patience);
            if (said is null)
            {
                ChildProcess.KillGroup(pid);
            }

            return (ChildProcess.Wait(pid) ?? -1, said ?? $"no answer within {Patience.TotalSeconds:0} seconds");
        }
    }
}
