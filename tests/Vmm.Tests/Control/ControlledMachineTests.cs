using System.Text.Json;
using Iced.Intel;
using Vmm.Backends.Disks;
using Vmm.Control;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Control;

/// <summary>A machine with a small guest, driven over its control socket.</summary>
[Collection(Alone.Name)]
public sealed class ControlledMachineTests : IDisposable
{
    private const ulong Counter = 0x20_0000;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-controlled-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_machine_is_asked_paused_resumed_changed_and_killed()
    {
        string disk = Path.Combine(_directory, "disk.img"), path = Path.Combine(_directory, "c.sock");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        using TestGuest guest = Counting();
        var spec = new MachineSpec
        {
            Kernel = guest.Path,
            Memory = 64UL << 20,
            Balloon = true,
            Name = "db",
            Control = path,
            Disks = [DiskSpec.Parse(disk)],
        };
        using ControlSocket socket = ControlSocket.Open(spec)!;
        Assert.Contains("a program listens there already", Assert.Throws<UsageException>(() => ControlSocket.Open(spec)).Message, StringComparison.Ordinal);
        using Machine machine = Machine.Build(spec, new RunObserver());
        using ControlServer server = socket.Serve(machine, "1.2.3");
        using var run = new RunningMachine(machine);
        var heard = new List<string>();
        using var client = new ControlClient(path, "db") { Happened = heard.Add };
        Assert.Equal(("db", "1.2.3", Environment.ProcessId), (client.Greeting.Name, client.Greeting.Vmm, client.Greeting.Pid));
        machine.WaitForNumber(Counter, 1001);
        Ask(client, "events");

        JsonElement status = Ask(client, "status");
        Assert.Equal("running", status.GetProperty("state").GetString());
        Assert.Equal(64L << 20, status.GetProperty("memory").GetInt64());
        Assert.InRange(status.GetProperty("uptime").GetDouble(), 0.0001, 1000);

        Ask(client, "pause");
        ulong still = Count(machine);
        Assert.Equal("paused", Ask(client, "status").GetProperty("state").GetString());
        Assert.Equal("db: it is paused: resume it first", Assert.Throws<HostException>(
            () => client.Ask("exec", new ExecArguments { Args = ["true"] }.ToJson())).Message);
        Assert.Equal("db: it is paused already", Assert.Throws<HostException>(() => client.Ask("pause")).Message);
        Thread.Sleep(50);
        Assert.Equal(still, Count(machine));
        JsonElement before = Ask(client, "stats");
        Ask(client, "resume");
        machine.WaitForNumber(Counter, still + 1001);
        Assert.Equal("db: it is not paused", Assert.Throws<HostException>(() => client.Ask("resume")).Message);

        JsonElement after = Ask(client, "stats");
        Assert.True(after.GetProperty("exits")[0].GetInt64() > before.GetProperty("exits")[0].GetInt64());
        Assert.True(after.GetProperty("exitsByReason").GetProperty("IO").GetInt64() > 1000);
        JsonElement ports = Assert.Single(after.GetProperty("exitsByDevice").EnumerateArray(), static each => each.GetProperty("reason").GetString() == "IO");
        Assert.True(ports.GetProperty("count").GetInt64() > 1000);
        Assert.True(ports.GetProperty("time").GetDouble() > 0);
        long[] below = [.. ports.GetProperty("below").EnumerateArray().Select(static each => each.GetInt64())];
        Assert.Equal(below.Order(), below);
        Assert.InRange(below[^1], 1000, ports.GetProperty("count").GetInt64());
        Assert.True(after.GetProperty("resident").GetInt64() > 1 << 20);
        Assert.True(after.GetProperty("cpuTime").GetDouble() >= before.GetProperty("cpuTime").GetDouble());

        Ask(client, "balloon", """{"bytes":33554432}""");
        Ask(client, "disk-resize", """{"disk":0,"bytes":2097152}""");
        after = Ask(client, "stats");
        Assert.Equal(32 << 20, after.GetProperty("balloon").GetProperty("target").GetInt64());
        Assert.Equal(2 << 20, after.GetProperty("disks")[0].GetProperty("bytes").GetInt64());
        Assert.Equal(2 << 20, new FileInfo(disk).Length);
        Assert.Contains("it can only grow", Assert.Throws<HostException>(() => client.Ask("disk-resize", JsonElement.Parse("""{"disk":0,"bytes":512}"""))).Message, StringComparison.Ordinal);
        Assert.Contains("counted from 0", Assert.Throws<HostException>(() => client.Ask("disk-resize", JsonElement.Parse("""{"disk":-1,"bytes":512}"""))).Message, StringComparison.Ordinal);
        Assert.Contains("listens to the power button", Assert.Throws<HostException>(() => client.Ask("power")).Message, StringComparison.Ordinal);

        // Each command of the schema is one that the machine knows.
        foreach (string command in ControlSchema.Commands.Except(["kill", "stop", "pause", "resume", "events", "power"]))
        {
            try
            {
                client.Ask(command, JsonElement.Parse("[]"));
            }
            catch (Exception error) when (error is UsageException or HostException)
            {
                Assert.DoesNotContain("no such command", error.Message, StringComparison.Ordinal);
            }
        }

        Ask(client, "kill");
        Assert.Equal(MachineEnd.Killed, run.WaitForEnd());
        server.Finish(ControlEvent.Ended(MachineEndKind.Stopped.ToString(), MachineEnd.Killed.ExitCode, MachineEnd.Killed.Summary));
        while (client.ReadLine(TimeSpan.FromSeconds(10)) is { } line)
        {
            heard.Add(System.Text.Encoding.UTF8.GetString(line));
            if (heard[^1].Contains("ended", StringComparison.Ordinal))
            {
                break;
            }
        }

        Assert.Equal(
            [
                """{"event":"state","state":"paused"}""", """{"event":"state","state":"running"}""", """{"event":"state","state":"stopping"}""",
                """{"event":"ended","kind":"stopped","code":137,"message":"killed over the control socket"}""",
            ],
            heard);
        Assert.All(heard, static line => ControlSchema.Check("event", line));
    }

    /// <summary>One that is told to end in the middle of a pause, and one that is paused when it ends.</summary>
    [KvmFact]
    public void A_machine_that_is_being_paused_ends_all_the_same()
    {
        for (int round = 0; round < 20; round++)
        {
            string path = Path.Combine(_directory, "c.sock");
            using TestGuest guest = Counting();
            var spec = new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20, Cpus = 2, Control = path };
            using ControlSocket socket = ControlSocket.Open(spec)!;
            using Machine machine = Machine.Build(spec);
            using ControlServer server = socket.Serve(machine, "1.2.3");
            using var run = new RunningMachine(machine);
            using var client = new ControlStand.Client(path);
            client.Say("""{"id":1,"command":"pause"}""" + "\n");
            if (round % 2 == 0)
            {
                client.Read();
            }

            client.Say((round % 4 < 2 ? """{"id":2,"command":"kill"}""" : """{"id":2,"command":"stop"}""") + "\n");
            string answer = client.Read()!;
            while (!answer.Contains("\"id\":2", StringComparison.Ordinal))
            {
                answer = client.Read()!;
            }

            if (answer.Contains("it is being paused", StringComparison.Ordinal))
            {
                client.Ask("""{"id":3,"command":"kill"}""");
            }

            Assert.Equal(MachineEndKind.Stopped, run.WaitForEnd().Kind);
        }
    }

    private static JsonElement Ask(ControlClient client, string command, string? arguments = null)
    {
        JsonElement result = client.Ask(command, arguments is null ? null : JsonElement.Parse(arguments));
        ControlSchema.Check(command is "status" or "stats" ? $"result-{command}" : "result-done", result.GetRawText());
        return result;
    }

    /// <summary>Counts, with an exit each time.</summary>
    private static TestGuest Counting() => new(static code =>
    {
        Label loop = code.CreateLabel();
        code.mov(rdi, Counter);
        code.mov(dx, 0x3fd);
        code.Label(ref loop);
        code.@in(al, dx);
        code.inc(__qword_ptr[rdi]);
        code.jmp(loop);
    });

    private static ulong Count(Machine machine) => machine.Ram.Memory.Read<ulong>(new GuestAddress(Counter));
}
