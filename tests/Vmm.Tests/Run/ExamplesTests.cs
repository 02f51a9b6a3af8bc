using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Vmm.Cli;
using Vmm.Run.Many;
using Vmm.Tests.Shared;
using YamlDotNet.RepresentationModel;

namespace Vmm.Tests.Run;

/// <summary>The files to copy in examples/: they parse, and every vmm in them has a command line that vmm takes.</summary>
public sealed partial class ExamplesTests
{
    private static string Folder => Path.Combine(SourceTree.Root, "examples");

    [Fact]
    public void Every_example_parses_and_its_command_lines_are_vmms()
    {
        int lines = 0;
        foreach (string path in Directory.GetFiles(Folder))
        {
            string[] scripts = path.EndsWith(".yml", StringComparison.Ordinal) ? [.. Scripts(Load(path))] : [File.ReadAllText(path)];
            foreach (string script in scripts)
            {
                // Expressions of GitHub's are put in by GitHub.
                string plain = Expression().Replace(script, "1");
                (int code, string said) = Bash("-n", plain);
                Assert.True(code == 0, $"{path}: {said}");
                lines += Check(path, plain);
            }
        }

        Assert.True(lines >= 5, $"{lines} command lines of vmm");
    }

    [Fact]
    public void GitHub_and_GitLab_run_every_shard_of_a_matrix()
    {
        YamlMappingNode job = Map(Map(Load("github-actions.yml"), "jobs"), "test");
        var shards = (YamlSequenceNode)Map(Map(job, "strategy"), "matrix").Children["shard"];
        Assert.Equal(["1", "2", "3", "4"], shards.Children.Select(each => each.ToString()));
        Assert.Contains(Scripts(job), script => script.Contains("--shard ${{ matrix.shard }}/${{ strategy.job-total }}", StringComparison.Ordinal));

        YamlMappingNode gitlab = Map(Load("gitlab-ci.yml"), "vm-tests");
        Assert.Equal("4", gitlab.Children["parallel"].ToString());
        Assert.Contains(Scripts(gitlab), script => script.Contains("--shard \"$CI_NODE_INDEX/$CI_NODE_TOTAL\"", StringComparison.Ordinal));
        Assert.Equal("report.xml", Map(Map(gitlab, "artifacts"), "reports").Children["junit"].ToString());
    }

    /// <summary>The script of the pod, with a vmm that says what it was given and ends as it is told.</summary>
    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 0)]
    [InlineData(125, 1)]
    [InlineData(137, 1)]
    public void A_pod_of_the_Kubernetes_job_runs_its_shard_and_fails_only_when_vmm_does(int vmm, int pod)
    {
        YamlMappingNode job = Load("kubernetes-job.yml");
        Assert.Equal(("batch/v1", "Job"), (job.Children["apiVersion"].ToString(), job.Children["kind"].ToString()));
        YamlMappingNode spec = Map(job, "spec");
        Assert.Equal("Indexed", spec.Children["completionMode"].ToString());
        string last = spec.Children["completions"].ToString();
        string script = Scripts(Map(spec, "template")).Single(each => each.Contains("vmm run", StringComparison.Ordinal));
        (int code, string said) = Bash("-c", $"export JOB_COMPLETION_INDEX=3; vmm() {{ echo \"$@\"; return {vmm}; }}\n{script}");
        Assert.Equal(pod, code);
        Assert.Contains($"--shard {last}/{last} ", said, StringComparison.Ordinal);
        Assert.Contains("--junit /reports/3.xml", said, StringComparison.Ordinal);
    }

    /// <summary>By kubectl's own types, without a cluster: it refuses what has the wrong type, and what it does not know is not in what it
    /// prints. (create --dry-run=client wants a server.)</summary>
    [KubectlFact]
    public void The_Kubernetes_job_has_only_fields_that_kubectl_knows()
    {
        string text = File.ReadAllText(Path.Combine(Folder, "kubernetes-job.yml"));
        Assert.Equal([], Unknown(text));
        Assert.Equal(["spec.paralelism"], Unknown(text.Replace("parallelism", "paralelism", StringComparison.Ordinal)));
        Assert.Equal(
            ["spec.template.spec.containers[0].workDir"], Unknown(text.Replace("workingDir", "workDir", StringComparison.Ordinal)));
        (int code, string said) = Kubectl(text.Replace("completions: 4", "completions: four", StringComparison.Ordinal));
        Assert.True(code != 0 && said.Contains("JobSpec.spec.completions of type int32", StringComparison.Ordinal), said);
    }

    [Fact]
    public void The_Slurm_script_runs_the_shard_of_its_task()
    {
        string script = File.ReadAllText(Path.Combine(Folder, "slurm-array.sh"));
        Assert.Contains("#SBATCH --array=1-8\n", script, StringComparison.Ordinal);
        (int code, string said) = Bash("-c", $"export SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=8; vmm() {{ echo \"$@\"; }}\n{script}");
        Assert.Equal(0, code);
        Assert.Contains("--shard 3/8 ", said, StringComparison.Ordinal);
    }

    /// <summary>Each vmm of a script, with what a shell would make of it.</summary>
    private static int Check(string path, string script)
    {
        string settings = "set +u; export CI_NODE_INDEX=1 CI_NODE_TOTAL=4 JOB_COMPLETION_INDEX=0 SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_COUNT=8\n"
            + "sudo() { :; }; apt-get() { :; }; vmm() { printf '%s\\n' \"$@\" --end-of-line--; }\n";
        (_, string said) = Bash("-c", settings + script);
        int count = 0;
        foreach (string line in said.Split("--end-of-line--", StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            string[] args = line.Split('\n');
            ParseResult parsed = CommandTree.Create(new StartClock()).Root.Parse(args, CommandTree.Parsing);
            CommandLineCheck.Check(args, parsed);
            if (args[0] == "run")
            {
                _ = RunItems.ParseShard(args[Array.IndexOf(args, "--shard") + 1]);
            }

            Assert.True(args[0] is "run" or "junit", $"{path}: {line}");
            count++;
        }

        return count;
    }

    /// <summary>The paths of all values that kubectl does not give back as they were.</summary>
    private static string[] Unknown(string text)
    {
        (int code, string said) = Kubectl(text);
        Assert.True(code == 0, said);
        return [.. Differences("", Parse(text), Parse(said))];
    }

    private static (int Code, string Said) Kubectl(string text) =>
        Bash("-c", $"kubectl set env --local -f - CHECKED=yes -o yaml <<'END'\n{text}\nEND\n");

    private static IEnumerable<string> Differences(string path, YamlNode expected, YamlNode? found) => (expected, found) switch
    {
        (YamlMappingNode map, YamlMappingNode other) => map.Children.SelectMany(each => Differences(
            path.Length == 0 ? $"{each.Key}" : $"{path}.{each.Key}", each.Value, other.Children.TryGetValue(each.Key, out YamlNode? value) ? value : null)),
        (YamlSequenceNode list, YamlSequenceNode other) => list.Children.SelectMany(
            (each, i) => Differences($"{path}[{i}]", each, other.Children.ElementAtOrDefault(i))),
        (YamlScalarNode one, YamlScalarNode other) when one.Value == other.Value => [],
        _ => [path],
    };

    private static (int Code, string Said) Bash(string option, string script)
    {
        // Of a text: what is a file for -n is standard input here.
        var start = new ProcessStartInfo("bash", option == "-n" ? ["-n", "/dev/stdin"] : [option, script])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process bash = Process.Start(start)!;
        bash.StandardInput.Write(option == "-n" ? script : "");
        bash.StandardInput.Close();
        Task<string> errors = bash.StandardError.ReadToEndAsync();
        string output = bash.StandardOutput.ReadToEnd();
        bash.WaitForExit();
        return (bash.ExitCode, output + errors.GetAwaiter().GetResult());
    }

    private static YamlMappingNode Load(string name) => Parse(File.ReadAllText(Path.Combine(Folder, name)));

    private static YamlMappingNode Parse(string text)
    {
        var yaml = new YamlStream();
        using var reader = new StringReader(text);
        yaml.Load(reader);
        return (YamlMappingNode)Assert.Single(yaml.Documents).RootNode;
    }

    private static YamlMappingNode Map(YamlMappingNode node, string key) => (YamlMappingNode)node.Children[key];

    /// <summary>The texts of all keys that hold shell: run, script, before_script, args.</summary>
    private static IEnumerable<string> Scripts(YamlNode node) => node switch
    {
        YamlMappingNode map => map.Children.SelectMany(each => each.Key.ToString() is "run" or "script" or "before_script" or "args"
            ? Texts(each.Value)
            : Scripts(each.Value)),
        YamlSequenceNode list => list.Children.SelectMany(Scripts),
        _ => [],
    };

    private static IEnumerable<string> Texts(YamlNode node) => node switch
    {
        YamlScalarNode text => [text.Value ?? ""],
        YamlSequenceNode list => list.Children.SelectMany(Texts),
        _ => [],
    };

    [GeneratedRegex(@"\$\{\{[^}]*\}\}")]
    private static partial Regex Expression();

    /// <summary>Completions by index for each pod are from Kubernetes 1.29 on: older clients (Debian 12 has 1.20) do not know them.</summary>
    private sealed partial class KubectlFactAttribute : FactAttribute
    {
        public KubectlFactAttribute()
        {
            Match version = Version().Match(Bash("-c", "kubectl version --client 2>&1").Said);
            if (!version.Success)
            {
                Skip = "kubectl is not installed";
            }
            else if (int.Parse(version.Groups[1].Value, CultureInfo.InvariantCulture) < 29)
            {
                Skip = $"this kubectl is 1.{version.Groups[1].Value}, older than the example's fields (1.29)";
            }
        }

        [GeneratedRegex("v1\\.([0-9]+)\\.")]
        private static partial Regex Version();
    }
}
