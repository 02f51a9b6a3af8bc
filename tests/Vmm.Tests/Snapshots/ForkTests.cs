using System.Text.Json;
using Iced.Intel;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Control;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Snapshots;
using Vmm.Snapshots.Forks;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Snapshots;

/// <summary>Machines that go on from a copy of a running one's memory.</summary>
[Collection(Alone.Name)]
public sealed class ForkTests : IDisposable
{
    private const int Forks = 8;
    private const ulong Counter = 0x20_0000, Number = Counter + 8;

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-fork-").FullName;

    /// <summary>Counts until it is given a number, and ends with that.</summary>
    private readonly TestGuest _guest = new(static code =>
    {
        Label loop = code.CreateLabel();
        code.mov(rdi, Counter);
        code.Label(ref loop);
        code.inc(__qword_ptr[rdi]);
        code.mov(rax, __qword_ptr[rdi + 8]);
        code.test(rax, rax);
        code.je(loop);
        code.@out(0xf4, al);
    });

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private MachineSpec Spec => new() { Kernel = _guest.Path, Memory = 32UL << 20 };

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Eight_forks_go_on_from_one_machine_and_end_each_its_own_way()
    {
        string disk = Path.Combine(_folder, "disk.img");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        MachineSpec spec = Spec with { Disks = [DiskSpec.Parse(disk + ",ephemeral")], Control = Path.Combine(_folder, "c.sock"), Name = "db" };
        using ControlSocket socket = ControlSocket.Open(spec)!;
        using Machine machine = Machine.Build(spec);
        using ControlServer server = socket.Serve(machine, "1.2.3");
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Counter, 1001);
        using var client = new ControlClient(spec.Control, "db");
        ControlForkPlan plan = client.Ask("fork-plan").Deserialize(ControlJson.Default.ControlForkPlan)!;
        Assert.Equal(("db", 1, 1, false, 32UL << 20), (plan.Name, plan.Overlays, plan.Cpus, plan.Agent, plan.Memory));
        using ForkFiles files = ForkFiles.Create(plan.Overlays);
        JsonElement saved = client.Ask("fork", Asking(files.Paths));
        Assert.InRange(saved.GetProperty("memory").GetInt64(), 4096, 1 << 20);
        files.Seal();

        ulong before = Count(machine);
        MachineSpec ofForks = spec with { Control = null };
        Machine[] forks = [.. Enumerable.Range(1, Forks).Select(_ =>
        {
            using ForkImage image = Image(1, files);
            using CarriedState overlays = image.CopyOverlays(ofForks);
            return Machine.Restore(ofForks, image, carried: overlays);
        })];
        try
        {
            Assert.Single(forks.Select(Count).Distinct());
            Assert.True(Count(forks[0]) <= before);
            RunningMachine[] runs = [.. forks.Select(static fork => new RunningMachine(fork))];
            for (int i = 0; i < Forks; i++)
            {
                forks[i].Ram.Memory.Write(new GuestAddress(Number), (ulong)i + 1);
                Assert.Equal(MachineEnd.FromGuest((byte)(i + 1)), runs[i].WaitForEnd());
                Assert.Equal(0UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(Number)));
            }

            Assert.Equal(Forks, forks.Select(static fork => fork.Disks[0].Disk.Backend.File).Distinct().Count());
        }
        finally
        {
            Array.ForEach(forks, static fork => fork.Dispose());
        }

        machine.WaitForNumber(Counter, before + 1);        // it went on all the time
        Parallel.For(0, 4, _ =>
        {
            using var other = new ControlClient(spec.Control, "db");        // one waits for the next
            using ForkFiles others = ForkFiles.Create(plan.Overlays);
            Assert.True(other.Ask("fork", Asking(others.Paths)).GetProperty("pause").GetDouble() > 0);
        });
        client.Ask("pause");
        Assert.Equal("db: it is paused: resume it first, then fork it", Refused<HostException>(client, files.Paths));
        client.Ask("resume");
        Assert.Contains("takes whole paths", Refused<UsageException>(client, ["relative", "b", "c"]), StringComparison.Ordinal);
        Assert.Contains("one for each disk with an overlay", Refused<HostException>(client, files.Paths.Take(1)), StringComparison.Ordinal);
        Assert.Contains("/none/a: No such file or directory", Refused<HostException>(client, ["/none/a", "/none/b", "/none/c"]), StringComparison.Ordinal);
        machine.Ram.Memory.Write(new GuestAddress(Number), 77UL);
        Assert.Equal(MachineEnd.FromGuest(77), run.WaitForEnd());
        Assert.Throws<HostException>(() => ForkWriter.Write(machine, files.Paths));
    }

    /// <summary>The guest has some of its disk in its memory, so a fork must find what was written before, and nobody what was written
    /// after. An image's tables are written late.</summary>
    [KvmTheory]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    [InlineData("ephemeral")]
    [InlineData("overlay=")]
    public void Each_fork_has_what_the_machine_had_written_to_its_disk(string option)
    {
        const ulong Before = 192 << 10, After = 448 << 10;
        string disk = Path.Combine(_folder, "disk.img"), overlay = Path.Combine(_folder, "o.qcow2");
        byte[] old = [.. Enumerable.Repeat((byte)0xaa, 1 << 20)];
        File.WriteAllBytes(disk, old);
        MachineSpec spec = Spec with { Disks = [DiskSpec.Parse($"{disk},{(option == "overlay=" ? option + overlay : option)}")] };
        ForkWriter.Check(spec);
        using Machine machine = Machine.Build(spec);
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Counter, 1001);
        DiskUser.Write(machine, Before, Block(1));
        using ForkFiles files = ForkFiles.Create(overlays: 1);
        ForkWriter.Write(machine, files.Paths);
        files.Seal();
        DiskUser.Write(machine, After, Block(2));
        MachineSpec ofForks = ForkWriter.OfForks(spec);
        for (byte fork = 3; fork <= 4; fork++)
        {
            using ForkImage image = Image(1, files);
            using CarriedState overlays = image.CopyOverlays(ofForks);
            using Machine other = Machine.Restore(ofForks, image, carried: overlays);
            using var runs = new RunningMachine(other);
            Assert.Equal(Block(1), DiskUser.Read(other, Before, 4096));
            Assert.Equal(Block(0xaa), DiskUser.Read(other, After, 4096));
            DiskUser.Write(other, Before, Block(fork));
            DiskUser.Write(other, After, Block(fork));
            Assert.Equal(Block(fork), DiskUser.Read(other, Before, 4096));
            other.Ram.Memory.Write(new GuestAddress(Number), (ulong)fork);
            Assert.Equal(MachineEnd.FromGuest(fork), runs.WaitForEnd());
        }

        Assert.Equal(Block(1), DiskUser.Read(machine, Before, 4096));
        Assert.Equal(Block(2), DiskUser.Read(machine, After, 4096));
        machine.Ram.Memory.Write(new GuestAddress(Number), 5UL);
        Assert.Equal(MachineEnd.FromGuest(5), run.WaitForEnd());
        Assert.Equal(old, File.ReadAllBytes(disk));
        Assert.Equal(option == "overlay=", File.Exists(overlay));

        static byte[] Block(byte value) => [.. Enumerable.Repeat(value, 4096)];
    }

    /// <summary>What is in the files is the machine's memory at one moment, with holes where it is zero.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_fork_of_memory_that_other_programs_map_is_a_copy()
    {
        MachineSpec spec = Spec with { WantsSharedMemory = true };
        using Machine machine = Machine.Build(spec);
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Counter, 1001);
        using ForkFiles files = ForkFiles.Create(overlays: 0);
        ForkWriter.Write(machine, files.Paths);
        using ForkImage image = Image(3, files);
        Assert.Equal(3, image.Number.Number);
        using (Machine fork = Machine.Restore(spec, image))
        {
            using var other = new RunningMachine(fork);
            fork.Ram.Memory.Write(new GuestAddress(Number), 9UL);
            Assert.Equal(MachineEnd.FromGuest(9), other.WaitForEnd());
        }

        machine.Ram.Memory.Write(new GuestAddress(Number), 8UL);
        Assert.Equal(MachineEnd.FromGuest(8), run.WaitForEnd());
    }

    [Theory]
    [InlineData("disk 0, /d: the machine writes to it", "/d", "user")]
    [InlineData("disk 0, /d: the machine writes to it", "/d,cache=none", "user")]
    [InlineData("network card 0: its tap interface tap7 is one machine's only", "/d,ephemeral", "tap=tap7")]
    [InlineData("network card 0: its link /s is one machine's only", "/d,readonly", "socket=/s")]
    [InlineData("a machine whose root vmm has packed", "/proc/self/fd/7,readonly", "user")]
    public void What_two_machines_cannot_share_is_named(string why, string disk, string net)
    {
        MachineSpec spec = Spec with { Disks = [DiskSpec.Parse(disk)], Nets = [NetSpec.Parse(net)] };
        Assert.StartsWith(why, Assert.Throws<UsageException>(() => ForkWriter.Check(spec)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_command_line_of_a_fork_is_that_of_its_machine_under_another_name()
    {
        Assert.Equal(["--machine-name", "b", "--kernel", "k"], MachineStart.ForkWords(["--kernel", "k"], "b"));
        Assert.Equal(
            ["run", "--machine-name", "b", "-d", "--name", "a", "--", "run", "--machine-fork", "x"],
            MachineStart.ForkWords(["run", "--machine-directory", "/d", "-d", "--name", "a", "--", "run", "--machine-fork", "x"], "b"));
        IReadOnlyList<string> ofFork = MachineStart.Words(["run", "--machine-name", "b", "--", "x"], "/d", MachineStart.ForkOption, "2");
        Assert.Equal(["run", "--machine-directory", "/d", "--machine-fork", "2", "--machine-name", "b", "--", "x"], ofFork);
        Assert.Equal(["run", "--machine-name", "c", "--", "x"], MachineStart.ForkWords(ofFork, "c"));
    }

    private static JsonElement Asking(IEnumerable<string> files) =>
        JsonSerializer.SerializeToElement(new ForkArguments([.. files]), ControlJson.Default.ForkArguments);

    private static string Refused<T>(ControlClient client, IEnumerable<string> files)
        where T : Exception => Assert.Throws<T>(() => client.Ask("fork", Asking(files))).Message;

    private static ForkImage Image(int number, ForkFiles files) =>
        new(new ForkNumber(number), [.. files.Paths.Select(static path => FileDescriptor.Open(path, LibC.O_RDONLY))]);

    private static ulong Count(Machine machine) => machine.Ram.Memory.Read<ulong>(new GuestAddress(Counter));
}
