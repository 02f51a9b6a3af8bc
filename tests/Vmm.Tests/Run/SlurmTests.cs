using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Xml.Linq;
using Vmm.Host;
using Vmm.Run.Results;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Run;

/// <summary>A real slurmctld with two slurmd (firmware/slurm/cluster), and a script in vmm's place: what is tested is who runs what,
/// where, how often, and what is left.</summary>
public sealed class SlurmTests : IDisposable
{
    private const string Fake = """
        #!/bin/sh
        while [ "$1" != --one-of-many ]; do shift; done
        file=$2 item=$4 code=0 verdict=passed
        echo "$item" >>"$RAN/began"
        case $item in *slow*) sleep 300;; esac
        sleep 0.5
        turns=0
        while [ -e "$RAN/hold" ] && [ $turns -lt 600 ]; do sleep 0.1; turns=$((turns + 1)); done
        case $item in *bad*) code=3 verdict=failed; echo "what $item said";; esac
        echo "$item" >>"$RAN/ended"
        printf '{"format":1,"name":"x","command":["x"],"verdict":"%s","code":%s,"started":"2026-11-27T00:00:00Z","times":{"total":1},"kernel":{"path":"k"},"complaints":[],"tests":[],"console":[]}' $verdict $code >"$file"
        exit $code

        """;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(120);

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-slurm").FullName;

    public void Dispose()
    {
        Cluster("stop");
        Directory.Delete(_folder, recursive: true);
    }

    [SlurmFact]
    public void Eight_shards_over_two_nodes_of_which_one_dies_give_one_report_with_each_test_once()
    {
        (int started, string said) = Cluster("start");
        Assert.True(started == 0, said);
        string[] items = [.. Enumerable.Range(0, 24).Select(i => $"t{i:00}{(i is 5 or 17 ? "-bad" : "")}")];
        File.WriteAllLines(At("list"), items);
        using Process vmm = Start("--on", "slurm:test,shards=8", "--junit", "report.xml", "--result", "result.json");

        // In the middle: n2 has ended something, and has something under way.
        Await(() => OfNode("n2", "code") > 0);
        File.WriteAllText(At("hold"), "");      // what is under way stays so, however long the kill takes
        Await(() => OfNode("n2", "node") > OfNode("n2", "code"));
        string[] before = File.ReadAllLines(At("ended"));
        Cluster("kill", "n2");
        File.Delete(At("hold"));
        string errors = End(vmm);

        Assert.True(vmm.ExitCode == 1, errors);
        Assert.Matches("shard [1-8] was lost: NODE_FAIL on n2; it runs again", errors);
        XElement[] suites = [.. XDocument.Load(At("report.xml")).Root!.Elements("testsuite")];
        Assert.Equal(items, suites.Select(each => each.Attribute("name")!.Value).Order(StringComparer.Ordinal));
        Assert.Equal(
            ["t05-bad", "t17-bad"], suites.Where(each => each.Descendants("failure").Any()).Select(each => each.Attribute("name")!.Value));
        RunResult[] results = [.. JsonSerializer.Deserialize(File.ReadAllText(At("result.json")), RunResultJson.Default.IReadOnlyListRunResult)!];
        Assert.Equal(items, results.Select(each => each.Name));
        Assert.All(results, each => Assert.Contains(each.Verdict, (RunOutcome[])[RunOutcome.Passed, RunOutcome.Failed]));
        Assert.Contains("    what t05-bad said", errors, StringComparison.Ordinal);

        // What had ended before is not done again, nor is what failed; what was lost is.
        string[] after = File.ReadAllLines(At("ended"));
        Assert.All(before, item => Assert.Single(after, item));
        Assert.True(File.ReadAllLines(At("began")).Length > items.Length);
        Assert.Empty(Directory.GetDirectories(_folder, ".vmm-slurm-*"));
    }

    [SlurmFact]
    public void A_signal_cancels_the_job_and_leaves_nothing()
    {
        (int started, string said) = Cluster("start");
        Assert.True(started == 0, said);
        File.WriteAllLines(At("list"), ["quick", "slow1", "slow2"]);
        using Process vmm = Start("--on", "slurm", "--result", "result.json");
        Await(() => OfNode("n1", "code") + OfNode("n2", "code") > 0);
        _ = LibC.kill(vmm.Id, LibC.SIGINT);
        string errors = End(vmm);
        Assert.True(vmm.ExitCode == 130, errors);
        Assert.Contains("1 passed, 0 failed, 2 not run", errors, StringComparison.Ordinal);
        Assert.Empty(Directory.GetDirectories(_folder, ".vmm-slurm-*"));
        (_, string queue) = Run("squeue", "-h");
        Assert.Equal("", queue);
        Assert.DoesNotContain(
            Directory.GetDirectories("/proc").Select(each => Path.Combine(each, "cmdline")).Where(File.Exists).Select(CommandLine),
            each => each.Contains(At("fake"), StringComparison.Ordinal));

        // An engine that does not know the partition says so, and it is one line.
        using Process wrong = Start("--on", "slurm:nosuch");
        errors = End(wrong);
        Assert.Matches("^vmm: --on slurm: sbatch: .*partition", errors);
        Assert.Equal((69, 1), (wrong.ExitCode, errors.Trim().Split('\n').Length));
    }

    private static string CommandLine(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return "";
        }
    }

    private Process Start(params string[] options)
    {
        File.WriteAllText(At("fake"), Fake);
        File.SetUnixFileMode(At("fake"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return Process.Start(Info(
            "env",
            [
                "--default-signal=INT,QUIT", "dotnet", Path.Combine(AppContext.BaseDirectory, "vmm.dll"), "run", "--config", "none", "-k", "/bin/true", "--root", "none",
                "-m", "64M", "--each", "@list", .. options, "--", "{}",
            ]))!;
    }

    private static string End(Process vmm)
    {
        Task<string> output = vmm.StandardOutput.ReadToEndAsync();
        Task<string> errors = vmm.StandardError.ReadToEndAsync();
        if (!vmm.WaitForExit(Patience))
        {
            vmm.Kill(entireProcessTree: true);
        }

        return output.GetAwaiter().GetResult() + errors.GetAwaiter().GetResult();
    }

    /// <summary>Runs that are at or were at a node, by the files that they leave.</summary>
    private int OfNode(string node, string kind)
    {
        string[] jobs = [.. Directory.GetDirectories(_folder, ".vmm-slurm-*").SelectMany(Directory.GetDirectories)];
        return jobs.SelectMany(job => Directory.GetFiles(job, "*.node")).Count(
            path => File.ReadAllText(path).Trim() == node && File.Exists(Path.ChangeExtension(path, kind)));
    }

    private static void Await(Func<bool> condition)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < Patience, "what the test waits for did not come");
            Thread.Sleep(20);
        }
    }

    private (int Code, string Said) Cluster(string what, params string[] more) =>
        Run(Path.Combine(SourceTree.Root, "firmware/slurm/cluster"), [what, .. more, At("engine")]);

    private (int Code, string Said) Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(Info(program, arguments))!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, (output + errors.GetAwaiter().GetResult()).Trim());
    }

    private ProcessStartInfo Info(string program, string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = _folder,
        };
        start.Environment["SLURM_CONF"] = string.Create(CultureInfo.InvariantCulture, $"{At("engine")}/slurm.conf");
        start.Environment["VMM_RUN_PROGRAM"] = At("fake");
        start.Environment["RAN"] = _folder;
        return start;
    }

    private string At(string name) => Path.Combine(_folder, name);

    private sealed class SlurmFactAttribute : FactAttribute
    {
        public SlurmFactAttribute()
        {
            if (Environment.UserName != "root" && !File.Exists("/usr/sbin/slurmctld"))
            {
                Skip = "needs slurm-wlm and munge, which only root can install";
            }
        }
    }
}
