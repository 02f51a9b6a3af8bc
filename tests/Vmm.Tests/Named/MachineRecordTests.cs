using System.Text.Json.Nodes;
using Vmm.Host;
using Vmm.Named;
using Vmm.Named.Limits;
using Vmm.Tests.Host;

namespace Vmm.Tests.Named;

[Collection(Signalled.Name)]
public sealed class MachineRecordTests : IDisposable
{
    private readonly TemporaryStore _place = new();

    public void Dispose() => _place.Dispose();

    [Fact]
    public void What_is_written_is_read_again()
    {
        MachineRecord record = _place.Record("db") with
        {
            Ports = ["127.0.0.1:8080:80"],
            Restart = "on-failure:3",
            Restarts = 2,
            Started = DateTimeOffset.UnixEpoch,
            Steps = [new StartStep("first instruction", 0.034)],
            IoLimit = new Vmm.Named.Limits.IoLimit(1 << 20, null),
            Pid = 7,
            Verdict = "it\u00e4",
            ExitCode = 71,
        };
        MachineFolder folder = _place.Add("db", _ => record);
        MachineRecord read = folder.Read();
        Assert.Equal(record.CommandLine, read.CommandLine);
        Assert.Equal(record.Ports, read.Ports);
        Assert.Equal(record.Steps, read.Steps);
        Assert.Equal(record with { CommandLine = read.CommandLine, Ports = read.Ports, Steps = read.Steps, Cgroups = read.Cgroups, Earlier = read.Earlier }, read);
    }

    [Fact]
    public void What_is_started_again_keeps_its_last_runs()
    {
        MachineFolder folder = _place.Add("db");
        Assert.Empty(folder.Read().Anew().Earlier);         // it never ran
        for (int run = 0; run < 20; run++)
        {
            MachineRecord record = folder.Read().Anew() with { Started = DateTimeOffset.UnixEpoch.AddHours(run), Steps = [new StartStep("first instruction", run)] };
            (run % 2 == 0 ? record with { Ended = record.Started, ExitCode = run, Verdict = "ended" } : record).Write(folder.Path);      // or it was killed
        }

        MachineRecord again = folder.Read().Anew();
        Assert.Equal(Enumerable.Range(4, 16).Select(static run => (double)run), again.Earlier.Select(static run => run.Steps[0].At));
        Assert.Equal((18, "ended", null, null), (again.Earlier[14].ExitCode!.Value, again.Earlier[14].Verdict, again.Earlier[15].ExitCode, again.Earlier[15].Ended));
        Assert.Equal((null, 0, null, null, null), (again.Started, again.Steps.Count, again.Ended, again.ExitCode, again.Verdict));
    }

    /// <summary>How a machine ended, and which process it is, are not lost where the disk is full.</summary>
    [Fact]
    public void On_a_full_disk_it_is_written_over_the_old_one()
    {
        MachineFolder folder = _place.Add("db");
        string beside = Path.Combine(folder.Path, $"{MachineRecord.FileName}.{Environment.ProcessId}.new");
        File.CreateSymbolicLink(beside, "/dev/full");
        (folder.Read() with { ExitCode = 3, Verdict = "the command ended with 3" }).Write(folder.Path);
        Assert.Equal((3, "the command ended with 3"), (folder.Read().ExitCode, folder.Read().Verdict));
        Assert.False(Path.Exists(beside));

        // More than there is room for is refused, and the old one stays.
        File.CreateSymbolicLink(beside, "/dev/full");
        HostException error = Assert.Throws<HostException>(() => (folder.Read() with { Verdict = new string('x', 1 << 20) }).Write(folder.Path));
        Assert.Contains("No space left on device", error.Message, StringComparison.Ordinal);
        Assert.Equal("the command ended with 3", folder.Read().Verdict);
    }

    [Fact]
    public void A_machine_that_cannot_be_started_is_as_it_was()
    {
        MachineFolder folder = _place.Add("db", static record => record with
        {
            Directory = "/no/such/directory",
            ExitCode = 3,
            Verdict = "the command ended with 3",
            Ended = DateTimeOffset.UtcNow,
        });
        var actions = new MachineActions(_place.Store, static (_, _, _) => { });
        Assert.Contains("/no/such/directory", Assert.Throws<HostException>(() => actions.Start(folder)).Message, StringComparison.Ordinal);
        Assert.Equal((MachineStateName.Exited, 3), (MachineStatus.Of(folder).State, MachineStatus.Of(folder).ExitCode!.Value));
    }

    [Fact]
    public void A_process_that_never_writes_its_number_is_not_waited_for_without_end()
    {
        (MachineFolder folder, FileDescriptor life) = _place.Store.TryCreate(_place.Record("db"))!.Value;
        using (life)
        {
            Assert.Contains("fuser", Assert.Throws<HostException>(
                () => MachineProcess.TryFind(folder, TimeSpan.FromMilliseconds(50))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_record_cut_anywhere_is_an_error_that_names_the_file()
    {
        MachineFolder folder = _place.Add("db");
        string path = Path.Combine(folder.Path, MachineRecord.FileName);
        byte[] whole = File.ReadAllBytes(path);
        for (int length = 0; length < whole.Length - 2; length++)
        {
            File.WriteAllBytes(path, whole[..length]);
            AssertRefused(folder);
        }
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("{\"version\":\"1\"}")]
    [InlineData("{\"version\":1}")]
    [InlineData("{\"version\":1,\"name\":null}")]
    [InlineData("{\"version\":1e99}")]
    [InlineData("\u0000\u0000")]
    public void What_is_no_record_is_an_error(string text)
    {
        MachineFolder folder = _place.Add("db");
        File.WriteAllText(Path.Combine(folder.Path, MachineRecord.FileName), text);
        AssertRefused(folder);
    }

    [Theory]
    [InlineData("\"name\": \"db\"", "\"name\": \"../../etc\"")]
    [InlineData("\"runtime\": \"/", "\"runtime\": \"")]
    [InlineData("\"log\": \"console.log\"", "\"log\": \"/etc/passwd\"")]
    [InlineData("\"restart\": \"no\"", "\"restart\": \"sometimes\"")]
    [InlineData("\"cpus\": 1", "\"cpus\": -1")]
    [InlineData("\"ports\": []", "\"ports\": [\"8080\"]")]
    [InlineData("\"ports\": []", "\"ports\": [null]")]
    [InlineData("\"steps\": []", "\"steps\": [null]")]
    [InlineData("\"cgroups\": []", "\"cgroups\": [null]")]
    [InlineData("\"commandLine\": [", "\"commandLine\": [ null,")]
    public void What_would_lead_elsewhere_is_refused(string before, string after)
    {
        MachineFolder folder = _place.Add("db");
        string path = Path.Combine(folder.Path, MachineRecord.FileName), text = File.ReadAllText(path);
        Assert.Contains(before, text, StringComparison.Ordinal);
        File.WriteAllText(path, text.Replace(before, after, StringComparison.Ordinal));
        AssertRefused(folder);
    }

    [Fact]
    public void Another_version_is_told_as_such()
    {
        MachineFolder folder = _place.Add("db", static record => record with { Version = 2 });
        Assert.Contains("version 2; this one knows 1", AssertRefused(folder), StringComparison.Ordinal);
        Assert.Equal(MachineStateName.Damaged, MachineStatus.Of(folder).State);
        _place.Store.Remove(folder);
        Assert.Empty(_place.Store.List());
    }

    [Fact]
    public void What_an_earlier_vmm_did_not_write_has_its_usual_value()
    {
        MachineFolder folder = _place.Add("db");
        string path = Path.Combine(folder.Path, MachineRecord.FileName);
        JsonObject record = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        foreach (string optional in (string[])["ports", "restart", "restarts", "cgroups", "log", "foreground", "earlier"])
        {
            Assert.True(record.Remove(optional), optional);
        }

        File.WriteAllText(path, record.ToJsonString());
        MachineRecord read = folder.Read();
        Assert.Equal((0, "no", 0, "console.log"), (read.Ports.Count, read.Restart, read.Cgroups.Count, read.Log));
    }

    /// <summary>Somebody may add to it by hand; a later vmm of the same version may, too.</summary>
    [Fact]
    public void What_it_has_besides_is_no_mistake()
    {
        MachineFolder folder = _place.Add("db");
        string path = Path.Combine(folder.Path, MachineRecord.FileName);
        File.WriteAllText(path, File.ReadAllText(path).Replace("\"cpus\": 1", "\"cpus\": 1, \"note\": \"mine\"", StringComparison.Ordinal));
        Assert.Equal("db", folder.Read().Name);
    }

    [Fact]
    public void Limits_are_taken_and_given_whole()
    {
        var limits = new MachineLimits(1.5, 64 << 20, new IoLimit(1 << 20, 500));
        MachineFolder folder = _place.Add("db", record => record with { Limits = limits });
        Assert.Equal(limits, folder.Read().Limits);
    }

    [Fact]
    public void Nobody_else_can_read_it()
    {
        MachineFolder folder = _place.Add("db");
        Assert.Equal(PrivateFiles.DirectoryMode, File.GetUnixFileMode(folder.Path));
        Assert.All(Directory.GetFiles(folder.Path), static file => Assert.Equal(PrivateFiles.OwnerOnly, File.GetUnixFileMode(file)));
    }

    [Theory]
    [InlineData("no", 1, 0, 0, null)]
    [InlineData("on-failure", 0, 0, 0, null)]
    [InlineData("on-failure", 71, 0, 0, 0.1)]
    [InlineData("on-failure", 71, 0, 3, 0.8)]
    [InlineData("on-failure", 71, 11, 3, 0.1)]
    [InlineData("on-failure:3", 71, 0, 2, 0.4)]
    [InlineData("on-failure:3", 71, 0, 3, null)]
    [InlineData("on-failure:3", 71, 11, 3, 0.1)]
    [InlineData("always", 0, 0, 0, 0.1)]
    [InlineData("always", 0, 0, 1000, 60.0)]
    public void The_policy_says_whether_and_when_it_starts_again(string policy, int code, int lasted, int restarts, double? delay) => Assert.Equal(
        delay, RestartPolicy.Parse(policy).Next(code, TimeSpan.FromSeconds(lasted), restarts)?.TotalSeconds);

    [Theory]
    [InlineData("")]
    [InlineData("never")]
    [InlineData("on-failure:")]
    [InlineData("on-failure:0")]
    [InlineData("on-failure:-1")]
    [InlineData("on-failure:x")]
    [InlineData("always:3")]
    public void There_is_no_other_policy(string text) => Assert.Throws<UsageException>(() => RestartPolicy.Parse(text));

    private static string AssertRefused(MachineFolder folder)
    {
        var error = Assert.Throws<RecordException>(folder.Read);
        Assert.Contains(MachineRecord.FileName, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(error.Message, char.IsControl);
        string told = Assert.Throws<HostException>(() => MachineStore.ReadOrExplain(folder)).Message;
        Assert.Contains("vmm rm db", told, StringComparison.Ordinal);
        return error.Message;
    }
}
