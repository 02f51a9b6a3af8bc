using System.Diagnostics;
using Vmm.Host;
using Vmm.Run.Many.Slurm;

namespace Vmm.Tests.Run;

/// <summary>What is given to a Slurm engine, without one.</summary>
public sealed class SlurmScriptTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-slurm it's").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_task_has_the_runs_of_its_shard_and_leaves_a_code_for_each()
    {
        string[] words = ["it's", "$(touch x)", "", "a b", "-n", "\n"];
        var shards = new Dictionary<int, IReadOnlyList<int>> { [0] = [0, 2], [1] = [1] };
        string script = Path.Combine(_folder, "script");
        File.WriteAllText(script, SlurmScript.Format(
            _folder, shards, place => ["sh", "-c", $"printf '[%s]' \"$@\"; echo bad >&2; exit {place + 5}", "sh", .. words]));
        var start = new ProcessStartInfo("sh", [script]);
        start.Environment["SLURM_ARRAY_TASK_ID"] = "0";
        start.Environment["SLURMD_NODENAME"] = "n7";
        using (Process task = Process.Start(start)!)
        {
            task.WaitForExit();

            // A run that failed is no reason to give the task up.
            Assert.Equal(0, task.ExitCode);
        }

        Assert.Equal(("5\n", "7\n", "n7\n"), (Read("0.code"), Read("2.code"), Read("0.node")));
        Assert.Equal(string.Concat(words.Select(word => $"[{word}]")) + "bad\n", Read("0.out"));
        Assert.False(File.Exists(Path.Combine(_folder, "1.code")) || File.Exists(Path.Combine(_folder, "0.end")));
    }

    [Fact]
    public void A_place_is_slurm_a_partition_and_a_number_of_shards()
    {
        Assert.Equal(new SlurmPlace(null, null), SlurmPlace.Parse("slurm"));
        Assert.Equal(new SlurmPlace("fast", 8), SlurmPlace.Parse("slurm:fast,shards=8"));
        foreach (string wrong in (string[])["", "slrum", "slurm:", "slurm:-x", "slurm,shards=0", "slurm,shards", "slurm,shard=3", "slurm,shards=1001"])
        {
            Assert.Throws<UsageException>(() => SlurmPlace.Parse(wrong));
        }
    }

    [Fact]
    public void Runs_lost_with_a_node_run_again_and_cancelled_ones_do_not()
    {
        Assert.True(SlurmJob.IsRepeated("NODE_FAIL", 1));
        Assert.True(SlurmJob.IsRepeated("FAILED", 2));
        Assert.False(SlurmJob.IsRepeated("NODE_FAIL", 3));
        Assert.All((string[])["CANCELLED", "TIMEOUT", "OUT_OF_MEMORY"], state => Assert.False(SlurmJob.IsRepeated(state, 1)));
    }

    private string Read(string name) => File.ReadAllText(Path.Combine(_folder, name));
}
