using System.Text.Json;
using Iced.Intel;
using Vmm.Backends.Disks;
using Vmm.Control;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Snapshots.Forks;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Snapshots;

/// <summary>Machines that were restored or forked, and go back to where they came from.</summary>
[Collection(Alone.Name)]
public sealed class RewindRestoredTests : IDisposable
{
    private const byte Code = 7;
    private const string Version = "0.1.0";
    private const ulong Counter = 0x20_0000, End = Counter + 8, Written = 20 << 20, Released = 24 << 20;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-rewind-").FullName;

    /// <summary>Counts until it is told to end.</summary>
    private readonly TestGuest _guest = new(static code =>
    {
        Label loop = code.CreateLabel();
        code.mov(rdi, Counter);
        code.Label(ref loop);
        code.inc(__qword_ptr[rdi]);
        code.cmp(__qword_ptr[rdi + 8], 0);
        code.je(loop);
        code.Exit((sbyte)Code);
    });

    private string Saved => Path.Combine(_folder, "snap");

    private string Disk => Path.Combine(_folder, "disk.img");

    private MachineSpec Spec => new() { Kernel = _guest.Path, Memory = 32UL << 20, Balloon = true };

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [KvmTheory]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    [InlineData("map", false)]
    [InlineData("map", true)]
    [InlineData("read", false)]
    [InlineData("uffd", false)]
    public void It_goes_back_to_its_snapshot_again_and_again(string way, bool isTracked)
    {
        ulong count = Save("ephemeral");
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWays.Parse(way));
        using Machine machine = snapshot.Restore(new Replacements());
        WrittenSince since = WrittenSince.Of(machine);
        using var run = new RunningMachine(machine);
        if (isTracked)
        {
            Assert.True(machine.TryQuiesce(Patience));
            _ = machine.Ram.TrackWrites();
            machine.Resume();
        }

        GoesBack(machine, since, count);
        EndGuest(machine, run);
    }

    [KvmTheory]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    [InlineData(false)]
    [InlineData(true)]
    public void A_fork_goes_back_to_where_it_was_forked(bool shared)
    {
        File.WriteAllBytes(Disk, new byte[1 << 20]);
        MachineSpec spec = Spec with { Disks = [DiskSpec.Parse(Disk + ",ephemeral")], WantsSharedMemory = shared };
        using ForkFiles files = ForkFiles.Create(overlays: 1);
        using (Machine first = Machine.Build(spec))
        {
            using var running = new RunningMachine(first);
            Prepare(first);
            ForkWriter.Write(first, files.Paths);
            EndGuest(first, running);
        }

        using var image = new ForkImage(new ForkNumber(1), [.. files.Paths.Select(static path => FileDescriptor.Open(path, LibC.O_RDONLY))]);
        using CarriedState overlays = image.CopyOverlays(spec);
        using Machine fork = Machine.Restore(spec, image, carried: overlays);
        ulong count = Count(fork);
        WrittenSince since = WrittenSince.Of(fork);
        using var run = new RunningMachine(fork);
        GoesBack(fork, since, count);
        EndGuest(fork, run);
    }

    /// <summary>What the machine was given instead of its disk is looked at, not the disk that it had.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_disk_that_took_the_place_of_its_own_goes_back_only_where_it_can()
    {
        ulong count = Save("");
        string other = Path.Combine(_folder, "other.img");
        File.Copy(Disk, other);
        foreach (string option in (string[])["", ",ephemeral"])
        {
            using Snapshot snapshot = Snapshot.Open(Saved);
            using Machine machine = snapshot.Restore(new Replacements { Disks = [DiskSpec.Parse(other + option)] });
            WrittenSince since = WrittenSince.Of(machine);
            using var run = new RunningMachine(machine);
            File.SetLastWriteTimeUtc(Disk, DateTime.UtcNow.AddSeconds(5));
            GoesBack(machine, since, count);
            if (option.Length == 0)
            {
                File.SetLastWriteTimeUtc(other, DateTime.UtcNow.AddSeconds(5));
                Assert.Contains(
                    $"disk 0, {other}: was written to since the snapshot",
                    Assert.Throws<UsageException>(() => Rewind.Run(machine, since, Patience, isPaused: false)).Message, StringComparison.Ordinal);
            }

            EndGuest(machine, run);
        }
    }

    /// <summary>The next snapshot takes the place of what it was restored from.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void It_is_asked_for_over_the_control_socket_before_and_after_another_snapshot()
    {
        Save("");
        MachineSpec spec = Spec with { Control = Path.Combine(_folder, "c.sock") };
        using ControlSocket socket = ControlSocket.Open(spec)!;
        using Snapshot snapshot = Snapshot.Open(Saved);
        using Machine machine = snapshot.Restore(new Replacements(), restored => restored with { Control = spec.Control });
        using ControlServer server = socket.Serve(machine, Version);
        using var run = new RunningMachine(machine);
        using var client = new ControlClient(spec.Control, "it");
        machine.Ram.Memory.Write(new GuestAddress(Written), 1UL);
        Assert.True(client.Ask("rewind").GetProperty("memory").GetInt64() >= 4096);
        Assert.Equal(0UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(Written)));
        machine.Ram.Memory.Write(new GuestAddress(Written), 2UL);
        client.Ask("snapshot", JsonSerializer.SerializeToElement(new SnapshotArguments(Saved + "2"), ControlJson.Default.SnapshotArguments));
        machine.Ram.Memory.Write(new GuestAddress(Written), 3UL);
        client.Ask("rewind");
        Assert.Equal(2UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(Written)));
        EndGuest(machine, run);
    }

    /// <returns>The guest's count in the snapshot.</returns>
    private ulong Save(string diskOption)
    {
        File.WriteAllBytes(Disk, new byte[1 << 20]);
        using Machine machine = Machine.Build(Spec with { Disks = [DiskSpec.Parse($"{Disk},{diskOption}".TrimEnd(','))] });
        using var run = new RunningMachine(machine);
        Prepare(machine);
        SnapshotWriter.Write(machine, Saved, Version, new SnapshotOptions { Ends = true });
        Assert.Equal(MachineEnd.Saved, run.WaitForEnd());
        return Count(machine);
    }

    private static void Prepare(Machine machine)
    {
        machine.Ram.Memory.Write(new GuestAddress(Released), 24UL);
        machine.WaitForMore(Counter);
    }

    private static void GoesBack(Machine machine, WrittenSince since, ulong count)
    {
        for (int i = 0; i < 3; i++)
        {
            machine.WaitForMore(Counter);
            machine.Ram.Memory.Write(new GuestAddress(Written), 77UL);                                    // a device's write
            Assert.True(machine.Ram.Release(machine.Ram.HostStart + (nint)Released, 4096));               // the balloon's
            if (i == 2)
            {
                machine.Pause();
            }

            BlockFile before = machine.Disks[0].Disk.Backend.File;
            RewindReport report = Rewind.Run(machine, since, Patience, isPaused: i == 2);
            Assert.InRange(report.MemoryBytes, 3UL * 4096, 64UL * 4096);
            Assert.Equal(0UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(Written)));
            Assert.Equal(24UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(Released)));
            Assert.Equal(machine.Spec.Disks[0].Ephemeral, before != machine.Disks[0].Disk.Backend.File);
        }

        Assert.Equal(count, Count(machine));
        machine.Resume();
        machine.WaitForMore(Counter);
    }

    private static ulong Count(Machine machine) => machine.Ram.Memory.Read<ulong>(new GuestAddress(Counter));

    private static void EndGuest(Machine machine, RunningMachine run)
    {
        machine.Ram.Memory.Write(new GuestAddress(End), 1UL);
        Assert.Equal(MachineEnd.FromGuest(Code), run.WaitForEnd());
    }
}
