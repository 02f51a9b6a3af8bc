using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Vmm.Control;

namespace Vmm.Tests.Control;

/// <summary>What docs/control.schema.json says is what vmm's own types are.</summary>
public sealed class ControlSchemaTests
{
    [Fact]
    public void Members_are_the_same_as_those_of_the_types()
    {
        Same(ControlJson.Default.ControlGreeting, "greeting");
        Same(ControlJson.Default.ControlStatus, "result-status");
        Same(ControlJson.Default.ControlStatistics, "result-stats");
        Same(ControlJson.Default.BalloonFigures, "result-stats", "properties", "balloon");
        Same(ControlJson.Default.ExitFigures, "result-stats", "properties", "exitsByDevice", "items");
        Same(ControlJson.Default.DiskFigures, "result-stats", "properties", "disks", "items");
        Same(ControlJson.Default.NetFigures, "result-stats", "properties", "nets", "items");
        Same(ControlJson.Default.ControlStopping, "result-stop");
        Same(ControlJson.Default.ControlOpened, "result-exec");
        Same(ControlJson.Default.ControlOpened, "result-console");
        Same(ControlJson.Default.ExecArguments, "arguments-exec");
        Same(ControlJson.Default.ConsoleArguments, "arguments-console");
        Same(ControlJson.Default.StopArguments, "arguments-stop");
        Same(ControlJson.Default.DiskArguments, "arguments-disk-resize");
        Same(ControlJson.Default.BalloonArguments, "arguments-balloon");
        Same(ControlJson.Default.SnapshotArguments, "arguments-snapshot");
        Same(ControlJson.Default.ControlSaved, "result-snapshot");
        Same(ControlJson.Default.ForkArguments, "arguments-fork");
        Same(ControlJson.Default.ControlForkPlan, "result-fork-plan");
        Same(ControlJson.Default.ControlForked, "result-fork");
        Same(ControlJson.Default.ControlRewound, "result-rewind");
        Same(ControlJson.Default.InputArguments, "arguments-input");
        Same(ControlJson.Default.CreditArguments, "arguments-credit");
        Same(ControlJson.Default.SignalArguments, "arguments-signal");
        Same(ControlJson.Default.ResizeArguments, "arguments-resize");
        Same(ControlJson.Default.CloseArguments, "arguments-close");
    }

    [Theory]
    [InlineData("""{"id":1,"command":"status"}""", true)]
    [InlineData("""{"command":"stop","arguments":{"timeout":2.5}}""", true)]
    [InlineData("""{"id":1,"command":"stop"}""", true)]
    [InlineData("""{"id":1,"command":"disk-resize","arguments":{"disk":0,"bytes":512}}""", true)]
    [InlineData("""{"id":1,"command":"disk-resize"}""", false)]
    [InlineData("""{"id":1,"command":"disk-resize","arguments":{"disk":0,"bytes":512,"more":1}}""", false)]
    [InlineData("""{"id":1,"command":"unknown"}""", false)]
    [InlineData("""{"id":-1,"command":"status"}""", false)]
    [InlineData("""{"id":1,"command":"exec","arguments":{"args":["true"],"tty":true}}""", true)]
    [InlineData("""{"id":1,"command":"exec","arguments":{"args":[]}}""", false)]
    public void It_takes_requests_and_no_others(string request, bool isOne) => Assert.Equal(isOne, ControlSchema.Takes("request", request));

    [Fact]
    public void It_takes_what_a_machine_says()
    {
        using var stand = new ControlStand();
        using ControlStand.Client client = stand.Connect();
        ControlSchema.Check("greeting", client.First);
        ControlSchema.Check("reply", client.Ask("""{"id":1,"command":"now"}""")!);
        ControlSchema.Check("reply", client.Ask("""{"id":1,"command":"nothing"}""")!);
        ControlSchema.Check("reply", client.Ask("""nonsense""")!);
        ControlEvent[] events =
        [
            new() { Event = "state", State = MachineCondition.Stopping },
            new() { Event = "complaint", Kind = "KASAN", Text = "BUG: KASAN: " },
            ControlEvent.Ended("GuestPanicked", 71, "why"),
            new() { Event = "credit", Stream = 1, Bytes = 5 },
            new() { Event = "lost", Stream = 1, Bytes = 5 },
            new() { Event = "input-closed", Stream = 1 },
            new() { Event = "exited", Stream = 1, How = "signal", Value = 9 },
        ];
        Assert.All(events, static each => ControlSchema.Check("event", JsonSerializer.Serialize(each, ControlJson.Default.ControlEvent)));
        Assert.False(ControlSchema.Takes("event", """{"event":"unknown"}"""));
        foreach (string kind in Enum.GetNames<Vmm.Machines.MachineEndKind>().Concat(Enum.GetNames<Vmm.Run.Results.RunOutcome>()))
        {
            ControlSchema.Check("event", JsonSerializer.Serialize(ControlEvent.Ended(kind, 0, ""), ControlJson.Default.ControlEvent));
        }
    }

    private static void Same<T>(JsonTypeInfo<T> type, params string[] path) => Assert.Equal(
        type.Properties.Select(static each => each.Name).Order(StringComparer.Ordinal),
        ControlSchema.MembersOf(path).Order(StringComparer.Ordinal));
}
