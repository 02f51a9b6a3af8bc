using System.CommandLine;
using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Vmm.Cli;
using Vmm.Cli.Commands;
using Vmm.Cli.Targets;
using Vmm.Host;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Run;

/// <summary>vmm.json: what it may hold, what is said of mistakes, and what comes out with a command line.</summary>
public sealed class RunFileTests
{
    private const string Example = """
        // what every run has
        {
          "$schema": "docs/vmm.schema.json",
          "defaults": { "kernel": "bzImage", "mem": "256M", "env": { "A": "1", "B": "2" }, "parallel": 2, },
          /* and the runs */
          "targets": {
            "unit": { "description": "fast ones", "command": ["make", "check"], "cpus": 2, "env": ["B=3"] },
            "shell": { "command": "echo $1", "root": "none", "rng": true, "packed": false },
            "each": { "each": ["tests/*.sh", "more/*.sh"], "command": ["sh", "{}"], "mem": "1G" }
          }
        }
        """;

    private readonly CommandTree _tree = CommandTree.Create(new StartClock());

    private Command RunCommand => CommandTree.FindCommand(_tree.Root, "run")!;

    [Fact]
    public void A_target_comes_before_the_defaults_and_the_command_line_before_both()
    {
        RunFile file = Parse(Example);
        Assert.Equal(["unit", "shell", "each"], file.Targets.Select(each => each.Name));
        Assert.Equal(
            ["--kernel=bzImage", "--mem=256M", "--env=A=1", "--env=B=2", "--cpus=2", "--env=B=3"], Words(Merge(file, "unit", "run")));
        Assert.Equal(
            ["--kernel=bzImage", "--env=A=1", "--env=B=2", "--env=B=3", "--mem=1G", "--cpus=4", "--env=B=4"],
            Words(Merge(file, "unit", "run", "unit", "-m", "1G", "--cpus=4", "-e", "B=4")));

        // What is of the whole call is no option of a run.
        Assert.DoesNotContain("--parallel=2", Words(Merge(file, "each", "run", "--fail-fast", "--junit", "x")));
        Assert.Equal(["tests/*.sh", "more/*.sh"], Merge(file, "each", "run").Each);
        Assert.Equal(["one.sh"], Merge(file, "each", "run", "--each", "one.sh").Each);
        Assert.Equal(["--kernel=bzImage", "--mem=256M", "--env=A=1", "--env=B=2", "--root=none", "--rng"], Words(Merge(file, "shell", "run")));
    }

    [Fact]
    public void Words_behind_the_dashes_add_to_the_command_of_a_target()
    {
        RunFile file = Parse(Example);
        Assert.Equal(["make", "check", "-k", "--mem"], Merge(file, "unit", "run", "unit", "--", "-k", "--mem").Command);
        Assert.Equal(["sh", "-c", "echo $1", "sh", "hello"], Merge(file, "shell", "run", "shell", "--", "hello").Command);
        Assert.Equal(["ls"], Merge(file, null, "run", "--", "ls").Command);
    }

    [Theory]
    [InlineData("{\n  \"defaults\": { \"kernal\": \"x\" } }", "2:17: no such key 'kernal'; did you mean 'kernel'?")]
    [InlineData("{ \"target\": {} }", "1:3: no such key 'target'; did you mean 'targets'?")]
    [InlineData("{ \"targets\": { \"ä\": { \"cpu\": 1, \"cpus\": [1] } } }", "1:41: 'cpus' takes text: N")]
    [InlineData("{ \"targets\": { \"a\": { \"rng\": \"yes\" } } }", "1:30: 'rng' takes true or false")]
    [InlineData("{ \"targets\": { \"a\": { \"parallel\": 2 } } }", "1:23: 'parallel' is of a whole call")]
    [InlineData("{ \"targets\": { \"a\": {}, \"a\": {} } }", "1:25: the target 'a' is there twice")]
    [InlineData("{ \"targets\": { \"a\": { \"mem\": 1, \"mem\": 2 } } }", "1:33: 'mem' is there twice")]
    [InlineData("{ \"targets\": { \"a\": { \"command\": [] } } }", "1:34: a command has at least one word")]
    [InlineData("{ \"targets\": { \"a\": { \"env\": { \"A\": [] } } } }", "1:32: a variable is")]
    [InlineData("{ \"targets\": { \"-a\": {} } }", "1:16: '-a' is no name of a target")]
    [InlineData("{ \"targets\": { \"a\": { \"share\": [true] } } }", "1:33: this takes text, or a list of texts")]
    [InlineData("{ \"targets\": { \"a\": { \"user\": \"a\\u0000b\" } } }", "1:31: text holds a NUL character")]
    [InlineData("{ \"targets\": { \"a\": { \"user\": \"\\ud800\" } } }", "1:31: not UTF-8")]
    [InlineData("[]", "1:1: here goes an object")]
    [InlineData("{ \"targets\": {\n} \n \"defaults\": 1 }", "3:2: not JSON from here on")]
    [InlineData("{ \"targets\": {", "1:")]
    [InlineData("", "1:1: not JSON")]
    [InlineData("{} {}", "1:4: not JSON from here on")]
    public void A_mistake_is_reported_with_its_place(string text, string told)
    {
        UsageException error = Assert.Throws<UsageException>(() => Parse(text));
        Assert.StartsWith("vmm.json:" + told, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    /// <summary>Whatever is in the file: one line, or a configuration.</summary>
    [Fact]
    public void A_file_with_something_cut_off_or_changed_is_a_line_or_a_configuration()
    {
        byte[] good = Encoding.UTF8.GetBytes(Example);
        var random = new Random(7);
        for (int i = 0; i < 3000; i++)
        {
            byte[] bytes = i < good.Length ? good[..i] : [.. good];
            for (int change = 0; i >= good.Length && change < 3; change++)
            {
                bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
            }

            try
            {
                _ = RunFile.Parse("vmm.json", bytes, RunManyOptions.KeysOf(RunCommand));
            }
            catch (UsageException error)
            {
                Assert.Matches("^vmm.json:[0-9]+:[0-9]+: ", error.Message);
            }
        }
    }

    [Fact]
    public void An_unknown_target_is_reported_with_the_closest() => Assert.Equal(
        "no such target 'unti' in vmm.json; did you mean 'unit'?; there are: unit, shell, each; a command goes behind --",
        Assert.Throws<UsageException>(() => Parse(Example).Find("unti")).Message);

    [Fact]
    public void The_schema_in_the_documentation_is_of_today_and_takes_the_example()
    {
        string path = Path.Combine(SourceTree.Root, "docs/vmm.schema.json");
        string schema = RunFileSchema.Format(RunManyOptions.KeysOf(RunCommand));
        Assert.True(File.ReadAllText(path) == schema, "docs/vmm.schema.json is not what 'vmm manual schema' prints: run 'make reference'");
        using var json = JsonDocument.Parse(schema);
        JsonElement target = json.RootElement.GetProperty("properties").GetProperty("targets").GetProperty("additionalProperties");
        Assert.False(target.GetProperty("additionalProperties").GetBoolean());

        // Every key that the parser knows is in the schema, and no other.
        Assert.Equal(
            RunManyOptions.KeysOf(RunCommand).All.Where(key => !RunManyOptions.KeysOf(RunCommand).Options.Any(option =>
                RunFileKeys.KeyOf(option) == key && RunManyOptions.KeysOf(RunCommand).IsOfCall(option))).Order(StringComparer.Ordinal),
            target.GetProperty("properties").EnumerateObject().Select(each => each.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_command_line_is_put_together_again_as_it_was()
    {
        string[] args = ["run", "-m", "1G", "--rng", "--env=A=b=c", "-e", "B=", "--profile", "--cmdline", "", "one", "two", "--", "sh", "--each", "--"];
        ParseResult result = _tree.Root.Parse(args, CommandTree.Parsing);
        var words = RunWords.Of(result, (Argument<string[]>)RunCommand.Arguments[0]);
        Assert.Equal(["one", "two"], words.Targets);
        Assert.Equal(["sh", "--each", "--"], words.Command);
        Assert.Equal(
            ["--cmdline", "", "--env=A=b=c", "--env=B=", "--mem=1G", "--profile", "--rng"], RunWords.Join(words.Options.OrderBy(each => each.Option.Name)));
    }

    [Theory]
    [InlineData("--vsock /tmp/v.sock", "--vsock /tmp/v.sock: would be the same for every run")]
    [InlineData("--disk d.img", "--disk d.img: one machine only may write to a disk")]
    [InlineData("--net tap=t0", "--net tap=t0: one tap is for one machine")]
    [InlineData("--net user,publish=80:80", "--net user,publish=80:80: one port leads into one machine")]
    [InlineData("-t", "-t: many runs cannot have one terminal")]
    [InlineData("--parallel 0", "--parallel 0: takes a number")]
    [InlineData("--shard 3/2", "--shard 3/2: takes I/N")]
    public void What_only_one_machine_can_have_is_refused_for_many(string options, string told)
    {
        Assert.StartsWith(
            $"vmm: {told}",
            Vmm(["run", "--config", "none", "-k", "/bin/true", "--each", "@-", .. options.Split(' '), "--", "true"], "a\nb\n").Errors,
            StringComparison.Ordinal);
    }

    [Fact]
    public void An_unquoted_pattern_is_reported() => Assert.Contains(
        "quote the pattern",
        Vmm(["run", "--config", "none", "-k", "/bin/true", "--each", "a.sh", "b.sh", "--", "sh", "{}"], "").Errors,
        StringComparison.Ordinal);

    /// <summary>The whole way, with a script in vmm's place.</summary>
    [Fact]
    public void Targets_and_items_run_each_with_its_options()
    {
        using var folder = new Folder();
        folder.Write("fake", "#!/bin/sh\nfor word; do case $word in --mem=*) echo \"$word\";; esac; done >>seen\nexit 0\n", isProgram: true);
        folder.Write("vmm.json", """
            { "defaults": { "kernel": "/bin/true", "parallel": 1, "root": "none", "command": ["true"] },
              "targets": { "small": { "mem": "64M" }, "all": { "each": "@list", "mem": "{}M", "command": ["echo", "{}"] } } }
            """);
        folder.Write("list", "128\n256\n");
        (int code, string errors) = Vmm(["run", "--all"], "", folder.Path, ("VMM_RUN_PROGRAM", Path.Combine(folder.Path, "fake")));

        // The script leaves no result file, which is vmm's fault and no test's.
        Assert.Equal(1, code);
        Assert.Contains("small", errors, StringComparison.Ordinal);
        Assert.Contains("all/128", errors, StringComparison.Ordinal);
        Assert.Contains("all/256", errors, StringComparison.Ordinal);
        Assert.Equal(["--mem=64M", "--mem=128M", "--mem=256M"], File.ReadAllLines(Path.Combine(folder.Path, "seen")));
        Assert.StartsWith("vmm: no such target 'smal' in vmm.json; did you mean 'small'?", Vmm(["run", "smal"], "", folder.Path).Errors, StringComparison.Ordinal);
    }

    private static (int Code, string Errors) Vmm(string[] args, string input, string? directory = null, params (string Name, string Value)[] variables)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "vmm.dll"), .. args])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = directory ?? "/",
        };
        foreach ((string name, string value) in variables)
        {
            start.Environment[name] = value;
        }

        using Process vmm = Process.Start(start)!;
        vmm.StandardInput.Write(input);
        vmm.StandardInput.Close();
        Task<string> output = vmm.StandardOutput.ReadToEndAsync();
        string errors = vmm.StandardError.ReadToEnd();
        vmm.WaitForExit();
        return (vmm.ExitCode, errors + output.GetAwaiter().GetResult());
    }

    private static IEnumerable<string> Words(RunCall call) => RunWords.Join(call.Options);

    private RunCall Merge(RunFile file, string? target, params string[] args)
    {
        var words = RunWords.Of(_tree.Root.Parse(args, CommandTree.Parsing), (Argument<string[]>)RunCommand.Arguments[0]);
        return RunCall.Merge(words, file.Defaults, target is null ? null : file.Find(target), option => option.Name == "--each");
    }

    private RunFile Parse(string text) =>
        RunFile.Parse("vmm.json", Encoding.UTF8.GetBytes(text), RunManyOptions.KeysOf(RunCommand));

    private sealed class Folder : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("vmm-targets").FullName;

        public void Write(string name, string text, bool isProgram = false)
        {
            string path = System.IO.Path.Combine(Path, name);
            File.WriteAllText(path, text);
            if (isProgram)
            {
                File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            }
        }

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
