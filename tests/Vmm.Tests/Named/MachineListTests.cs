using System.Text.Json;
using Json.Schema;
using Vmm.Cli.Commands;
using Vmm.Named;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Named;

/// <summary>What <c>vmm ps</c> prints of machines.</summary>
public sealed class MachineListTests : IDisposable
{
    private readonly TemporaryStore _place = new();

    public void Dispose() => _place.Dispose();

    /// <summary>Programs read it: names and kinds of values stay as they are.</summary>
    [Fact]
    public void JSON_of_machines_is_this()
    {
        IReadOnlyList<MachineStatus> machines = Machines();
        string text = MachineListCommand.FormatJson(machines, isLine: true);
        Assert.Equal(
            """
            [{"name":"db","state":"running","kernel":"/boot/vmlinuz","memory":268435456,"cpus":1,"pid":7,"started":"2026-11-27T12:00:00+00:00","uptime":60.5,"cpuTime":1.25,"exits":1000,"exitRate":16.5,"resident":4096},
            {"name":"gone","state":"dead","detail":"the host restarted","kernel":"/boot/vmlinuz","memory":268435456,"cpus":1,"started":"2026-11-27T12:00:00+00:00"},
            {"name":"odd","state":"damaged","detail":"it is damaged"},
            {"name":"over","state":"exited","detail":"stopped","kernel":"/boot/vmlinuz","memory":268435456,"cpus":1,"exitCode":143,"started":"2026-11-27T12:00:00+00:00","ended":"2026-11-27T12:01:00+00:00"}]
            """.Replace("\n{", "{", StringComparison.Ordinal) + "\n",
            text);
        Assert.True(JsonElement.DeepEquals(JsonElement.Parse(text), JsonElement.Parse(MachineListCommand.FormatJson(machines, isLine: false))));
    }

    [Fact]
    public void Its_schema_is_of_today()
    {
        JsonElement schema = JsonElement.Parse(File.ReadAllText(Path.Combine(SourceTree.Root, "docs/ps.schema.json")));
        JsonElement members = schema.GetProperty("items").GetProperty("properties");
        Assert.Equal(
            MachineLineJson.Default.MachineStatus.Properties.Where(static each => each.Get is not null).Select(static each => each.Name).Order(StringComparer.Ordinal),
            members.EnumerateObject().Select(static each => each.Name).Order(StringComparer.Ordinal));
        Assert.Equal(
            Enum.GetValues<MachineStateName>().Select(static each => JsonSerializer.Serialize(each)),
            members.GetProperty("state").GetProperty("enum").EnumerateArray().Select(static each => each.GetRawText()));
        var checks = JsonSchema.FromText(schema.GetRawText());
        JsonElement machines = JsonElement.Parse(MachineListCommand.FormatJson(Machines(), isLine: false));
        Assert.True(checks.Evaluate(machines).IsValid);
        Assert.True(checks.Evaluate(JsonElement.Parse("[]")).IsValid);
        Assert.False(checks.Evaluate(JsonElement.Parse("""[{"name":"db"}]""")).IsValid);
        Assert.False(checks.Evaluate(JsonElement.Parse("""[{"name":"db","state":"well"}]""")).IsValid);
    }

    [Fact]
    public void No_machines_are_an_empty_list_and_a_head() => Assert.Equal(
        ("[]\n", "NAME  STATE  KERNEL  MEMORY  CPUS  CPU TIME  EXITS/S  UPTIME\n"),
        (MachineListCommand.FormatJson([], isLine: false), MachineListCommand.Format([])));

    private MachineStatus[] Machines()
    {
        var noon = new DateTimeOffset(2026, 11, 27, 12, 0, 0, TimeSpan.Zero);
        MachineRecord record = _place.Record("db") with { Pid = 7, Started = noon };
        MachineStatus Status(string name, MachineStateName state) => new() { Folder = new MachineFolder(Path.Combine(_place.Store.Root, name)), State = state };
        return
        [
            Status("db", MachineStateName.Running) with
            {
                Record = record, Uptime = 60.5, CpuTime = 1.25, Exits = 1000, ExitRate = 16.5, Resident = 4096,
            },
            Status("gone", MachineStateName.Dead) with { Record = record, Detail = "the host restarted" },
            Status("odd", MachineStateName.Damaged) with { Detail = "it is damaged" },
            Status("over", MachineStateName.Exited) with { Record = record with { ExitCode = 143, Ended = noon.AddMinutes(1) }, Detail = "stopped" },
        ];
    }
}
