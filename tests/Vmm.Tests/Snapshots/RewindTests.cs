using System.Text.Json;
using Vmm.Backends.Disks;
using Vmm.Control;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Snapshots;

/// <summary>Machines that go back to their last snapshot in place.</summary>
[Collection(Alone.Name)]
public sealed class RewindTests : IDisposable
{
    private const string Version = "0.1.0";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-rewind-").FullName;
    private readonly TestGuest _guest = new(LiveSnapshotTests.EmitWriter);

    private string Saved => Path.Combine(_folder, "snap");

    private MachineSpec Spec => new() { Kernel = _guest.Path, Memory = (3UL << 30) + (64 << 20), Cpus = 2, Rng = true, Balloon = true };

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>The guest itself checks that its memory below and above the hole belongs together, and ends with another code where it
    /// does not.</summary>
    [KvmTheory]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    [InlineData(true)]
    [InlineData(false)]
    public void It_goes_on_from_there_again_and_again(bool isTracked)
    {
        string disk = Path.Combine(_folder, "disk.img");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        using Machine machine = Machine.Build(Spec with { Disks = [DiskSpec.Parse(disk + ",ephemeral")] });
        var since = new WrittenSince(machine.Ram);
        using var run = new RunningMachine(machine);
        LiveSnapshotTests.WaitForRounds(machine, 5);
        machine.Ram.Memory.Write(new GuestAddress(24 << 20), 24UL);
        SnapshotWriter.Write(machine, Saved, Version, new SnapshotOptions { IsLive = isTracked, Since = since });
        ulong saved = RoundIn(Saved);
        for (int i = 0; i < 6; i++)
        {
            LiveSnapshotTests.WaitForRounds(machine, 20);
            machine.Ram.Memory.Write(new GuestAddress(20 << 20), 77UL);            // a device's write
            Assert.True(machine.Ram.Release(machine.Ram.HostStart + (24 << 20), 4096));     // a page that the balloon gave back
            if (i == 5)
            {
                machine.Pause();
            }

            BlockFile before = machine.Disks[0].Disk.Backend.File;
            RewindReport report = Rewind.Run(machine, since, Patience, isPaused: i == 5);
            Assert.InRange(report.MemoryBytes, 1024UL * 4096, (1024UL + 64) * 4096);
            Assert.Equal(0UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(20 << 20)));
            Assert.Equal(24UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(24 << 20)));
            Assert.NotEqual(before, machine.Disks[0].Disk.Backend.File);
            if (i == 5)
            {
                Assert.Equal(saved, LiveSnapshotTests.Round(machine));
                machine.Resume();
            }
        }

        LiveSnapshotTests.WaitForRounds(machine, 3);
        LiveSnapshotTests.EndGuest(machine, run);
    }

    [KvmFact(MemoryGib = 4)]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void What_cannot_go_back_is_refused_and_goes_on()
    {
        string disk = Path.Combine(_folder, "disk.img");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        using Machine machine = Machine.Build(Spec with { Disks = [DiskSpec.Parse(disk)] });
        var since = new WrittenSince(machine.Ram);
        using var run = new RunningMachine(machine);
        Assert.Contains("has no snapshot to go back to", Refusal(), StringComparison.Ordinal);
        SnapshotWriter.Write(machine, Saved, Version, new SnapshotOptions { Since = since });
        File.SetLastWriteTimeUtc(disk, DateTime.UtcNow.AddSeconds(5));
        Assert.Contains($"disk 0, {disk}: was written to since the snapshot", Refusal(), StringComparison.Ordinal);
        using (Snapshot from = Snapshot.Open(Saved))
        {
            SnapshotWriter.Write(machine, Saved + "diff", Version, new SnapshotOptions { Since = since, Base = from });
        }

        Assert.Contains("is only a diff to", Refusal(), StringComparison.Ordinal);
        SnapshotWriter.Write(machine, Saved + "2", Version, new SnapshotOptions { Since = since });
        Directory.Move(Saved + "2", Saved + "3");
        Assert.Contains("no such file", Refusal(), StringComparison.OrdinalIgnoreCase);
        Directory.Move(Saved, Saved + "2");
        Assert.Contains("is not the snapshot any more", Refusal(), StringComparison.Ordinal);
        LiveSnapshotTests.WaitForRounds(machine, 3);
        LiveSnapshotTests.EndGuest(machine, run);

        string Refusal() => Assert.Throws<UsageException>(() => Rewind.Run(machine, since, Patience, isPaused: false)).Message;
    }

    /// <summary>Memory that is neither what it was nor what it is to be runs no further.</summary>
    [KvmFact(MemoryGib = 4)]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_snapshot_that_was_damaged_ends_the_machine()
    {
        using Machine machine = Machine.Build(Spec);
        var since = new WrittenSince(machine.Ram);
        using var run = new RunningMachine(machine);
        LiveSnapshotTests.WaitForRounds(machine, 3);
        SnapshotWriter.Write(machine, Saved, Version, new SnapshotOptions { Since = since });
        using (FileStream file = File.OpenWrite(Path.Combine(Saved, "memory")))
        {
            file.Position = (32 << 20) + 4096;
            file.WriteByte(0xee);
        }

        LiveSnapshotTests.WaitForRounds(machine, 3);
        HostException error = Assert.Throws<HostException>(() => Rewind.Run(machine, since, Patience, isPaused: false));
        Assert.Contains("has ended: ", error.Message, StringComparison.Ordinal);
        MachineEnd end = run.WaitForEnd();
        Assert.Equal(MachineEndKind.HostFailed, end.Kind);
        Assert.Contains("memory: is damaged between its bytes", end.Message, StringComparison.Ordinal);
    }

    [KvmFact(MemoryGib = 4)]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void It_is_asked_for_over_the_control_socket()
    {
        MachineSpec spec = Spec with { Control = Path.Combine(_folder, "c.sock") };
        using ControlSocket socket = ControlSocket.Open(spec)!;
        using Machine machine = Machine.Build(spec);
        using ControlServer server = socket.Serve(machine, Version);
        using var run = new RunningMachine(machine);
        using var client = new ControlClient(spec.Control, "it");
        Assert.Contains("has no snapshot", Assert.ThrowsAny<Exception>(() => client.Ask("rewind")).Message, StringComparison.Ordinal);
        LiveSnapshotTests.WaitForRounds(machine, 3);
        client.Ask("snapshot", JsonSerializer.SerializeToElement(new SnapshotArguments(Saved, Live: true), ControlJson.Default.SnapshotArguments));
        LiveSnapshotTests.WaitForRounds(machine, 3);
        client.Ask("pause");
        JsonElement done = client.Ask("rewind");
        Assert.True(done.GetProperty("pause").GetDouble() > 0);
        Assert.True(done.GetProperty("memory").GetInt64() >= 128 * 4096);
        Assert.Equal(RoundIn(Saved), LiveSnapshotTests.Round(machine));
        client.Ask("resume");
        LiveSnapshotTests.WaitForRounds(machine, 3);
        LiveSnapshotTests.EndGuest(machine, run);
    }

    [KvmFact(MemoryGib = 4)]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void One_thing_is_done_at_a_time()
    {
        MachineSpec spec = Spec with { Control = Path.Combine(_folder, "c.sock") };
        using ControlSocket socket = ControlSocket.Open(spec)!;
        using Machine machine = Machine.Build(spec);
        using ControlServer server = socket.Serve(machine, Version);
        using var run = new RunningMachine(machine);
        using var client = new ControlClient(spec.Control, "it");
        LiveSnapshotTests.WaitForRounds(machine, 3);
        bool isOver = false;
        Task saving = Task.Run(() =>
        {
            using var other = new ControlClient(spec.Control, "it");
            for (int i = 0; !Volatile.Read(ref isOver); i++)
            {
                try
                {
                    other.Ask("snapshot", JsonSerializer.SerializeToElement(new SnapshotArguments($"{Saved}{i}"), ControlJson.Default.SnapshotArguments));
                    Directory.Delete($"{Saved}{i}", recursive: true);
                }
                catch (Exception error) when (error is UsageException or HostException)
                {
                    Assert.Matches("it is being saved|it goes back to its snapshot", error.Message);       // the other client was first
                }
            }
        });
        var limit = System.Diagnostics.Stopwatch.StartNew();
        foreach (string command in (string[])["snapshot", "rewind"])
        {
            for (string message = ""; !message.Contains("it is being saved", StringComparison.Ordinal);)
            {
                Assert.True(limit.Elapsed < Patience, message);
                try
                {
                    client.Ask(command, command == "rewind" ? null : JsonSerializer.SerializeToElement(
                        new SnapshotArguments(Saved + "/nowhere"), ControlJson.Default.SnapshotArguments));
                }
                catch (Exception error) when (error is UsageException or HostException)
                {
                    message = error.Message;
                }
            }
        }

        Volatile.Write(ref isOver, true);
        saving.GetAwaiter().GetResult();
        LiveSnapshotTests.EndGuest(machine, run);
    }

    /// <summary>The last page of the guest's round.</summary>
    private static ulong RoundIn(string saved)
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle memory = File.OpenHandle(Path.Combine(saved, "memory"));
        byte[] bytes = new byte[8];
        Assert.Equal(8, RandomAccess.Read(memory, bytes, (3L << 30) + (511 * 4096)));
        return BitConverter.ToUInt64(bytes);
    }
}
