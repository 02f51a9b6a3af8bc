using System.Diagnostics;
using System.Text.Json;
using Iced.Intel;
using Vmm.Backends.Disks;
using Vmm.Control;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Disks;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Snapshots;

/// <summary>Machines that are saved to a directory and go on from there.</summary>
[Collection(Alone.Name)]
public sealed class SnapshotTests : IDisposable
{
    private const byte Code = 7;
    private const ulong Data = 0x20_0000;
    private const ulong Spins = Data, Ticks = Data + 8, End = Data + 16;
    private const uint ApicBase = 0x1b, Eoi = 0x80b, Spurious = 0x80f, LvtTimer = 0x832, InitialCount = 0x838, Divide = 0x83e;
    private const string Version = "0.1.0";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-snapshot-").FullName;
    private readonly TestGuest _guest = new(EmitHalting);

    private string Saved => Path.Combine(_folder, "snap");

    private MachineSpec Spec => new() { Kernel = _guest.Path, Memory = 32UL << 20, Cpus = 2, Rng = true };

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>One vCPU halts between the interrupts of its timer, the other waits for a start that never comes.</summary>
    [KvmTheory]
    [InlineData("map", false)]
    [InlineData("read", false)]
    [InlineData("map", true)]
    [InlineData("uffd", false)]
    [InlineData("uffd", true)]
    public void A_machine_is_saved_goes_on_and_is_restored_twice_at_once(string way, bool shared)
    {
        ulong atSave = SaveRunning(Spec with { WantsSharedMemory = shared });
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWays.Parse(way));
        using Machine one = snapshot.Restore(new Replacements());
        using Machine other = snapshot.Restore(new Replacements());
        foreach (Machine machine in (Machine[])[one, other])
        {
            Assert.True(Count(machine) >= atSave);
            using var run = new RunningMachine(machine);
            WaitForTicks(machine, 5);
            EndGuest(machine, run);
        }

        Assert.Equal(snapshot.State, Snapshot.Open(Saved, MemoryWay.Read).State);      // nothing was written to it
    }

    /// <summary>Eight times in a row, each from the last one's memory without a copy.</summary>
    [KvmFact]
    public void A_machine_that_was_restored_is_saved_again()
    {
        const int Rounds = 8;
        ulong count = SaveRunning(Spec);
        string from = Saved;
        for (int round = 0; round < Rounds; round++)
        {
            string to = Path.Combine(_folder, $"snap{round}");
            using (Snapshot snapshot = Snapshot.Open(from))
            using (Machine machine = snapshot.Restore(new Replacements()))
            {
                Assert.True(Count(machine) >= count);
                using var run = new RunningMachine(machine);
                WaitForTicks(machine, 2);
                SnapshotWriter.Write(machine, to, Version, new SnapshotOptions { Ends = true });
                Assert.Equal(MachineEnd.Saved, run.WaitForEnd());
                count = Count(machine);
            }

            from = to;
        }
    }

    [KvmFact]
    public void What_was_cut_or_flipped_is_refused_before_anything_runs()
    {
        SaveRunning(Spec);
        foreach (string name in (string[])["snapshot.json", "state.json", "memory.crc32c", "memory"])
        {
            string path = Path.Combine(Saved, name);
            byte[] whole = File.ReadAllBytes(path);
            foreach (int length in (int[])[0, 1, whole.Length / 2, whole.Length - 1])
            {
                File.WriteAllBytes(path, whole[..length]);
                Assert.Contains(name, Refusal().Message, StringComparison.Ordinal);
            }

            File.WriteAllBytes(path, [.. whole, 0]);
            Assert.Contains(name, Refusal().Message, StringComparison.Ordinal);
            for (int i = 0; i < 5; i++)
            {
                byte[] flipped = [.. whole];
                flipped[whole.Length * i / 5] ^= 0x10;
                File.WriteAllBytes(path, flipped);
                Assert.Contains(name, Refusal().Message, StringComparison.Ordinal);
            }

            File.Delete(path);
            Assert.Contains(name, Refusal().Message, StringComparison.Ordinal);
            Directory.CreateDirectory(path);
            Assert.Contains($"{name}: not a regular file", Refusal().Message, StringComparison.Ordinal);
            Directory.Delete(path);
            File.WriteAllBytes(path, whole);
        }

        Restored().Dispose();
    }

    [KvmFact]
    public void A_host_that_lacks_something_is_named()
    {
        SaveRunning(Spec);
        Change("\"vendor\":\"", "\"vendor\":\"Strange ");
        Assert.Contains("snapshot.json: ", Refusal().Message, StringComparison.Ordinal);        // longer than a vendor's name
        Change("\"vendor\":\"Strange ", "\"vendor\":\"");
        Change("\"features\":\"", "\"features\":\"flying ");
        Assert.EndsWith("host.features: the machine uses what this processor or its KVM lacks: flying", Refusal().Message, StringComparison.Ordinal);
        Change("\"features\":\"flying ", "\"features\":\"");
        Change("\"capabilities\":\"", "\"capabilities\":\"KVM_CAP_TELEPORT ");
        Assert.Contains("host.capabilities: this host's KVM lacks: KVM_CAP_TELEPORT", Refusal().Message, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_disk_that_was_written_to_since_is_refused_and_another_taken()
    {
        string disk = Path.Combine(_folder, "disk.img"), copy = Path.Combine(_folder, "copy.img");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        SaveRunning(Spec with { Disks = [DiskSpec.Parse(disk)] });
        File.Copy(disk, copy);
        Restored().Dispose();
        File.SetLastWriteTimeUtc(disk, DateTime.UtcNow.AddSeconds(5));
        Assert.Contains($"disk 0, {disk}: is missing, another file, or was written to", Refusal().Message, StringComparison.Ordinal);
        Restored(new Replacements { Disks = [DiskSpec.Parse(copy)] }).Dispose();
        Assert.Contains(
            "--disk: given 2 times, and the machine that was saved has 1",
            Refusal(new Replacements { Disks = [DiskSpec.Parse(copy), DiskSpec.Parse(disk)] }).Message, StringComparison.Ordinal);
        File.WriteAllBytes(copy, new byte[2 << 20]);
        Assert.Contains("state.json: ", Refusal(new Replacements { Disks = [DiskSpec.Parse(copy)] }).Message, StringComparison.Ordinal);
        using Machine holds = Restored(new Replacements { Disks = [DiskSpec.Parse(disk)] });
        Assert.Contains("it is in use", Refusal(new Replacements { Disks = [DiskSpec.Parse(disk)] }).Message, StringComparison.Ordinal);
    }

    [KvmFact]
    public void What_was_written_to_an_ephemeral_disk_is_in_the_snapshot()
    {
        string disk = Path.Combine(_folder, "disk.img");
        File.WriteAllBytes(disk, new byte[1 << 20]);
        SaveRunning(Spec with { Disks = [DiskSpec.Parse(disk + ",ephemeral")] });
        Assert.True(File.Exists(Path.Combine(Saved, "disk0.qcow2")));
        using Machine one = Restored();
        using Machine other = Restored();      // each has a copy of its own
        Assert.NotEqual(one.Disks[0].Disk.Backend.File, other.Disks[0].Disk.Backend.File);
    }

    [LoopFact]      // root, that is
    public void On_a_full_file_system_the_machine_goes_on_and_nothing_is_left()
    {
        if (!Vmm.Tests.Shared.Kvm.IsThere)
        {
            return;
        }

        string small = Directory.CreateDirectory(Path.Combine(_folder, "small")).FullName;
        Assert.Equal(0, Run("mount", "-t", "tmpfs", "-o", "size=16k", "none", small));
        try
        {
            using Machine machine = Machine.Build(Spec);
            using var run = new RunningMachine(machine);
            WaitForTicks(machine, 2);
            foreach (bool isLive in (bool[])[false, true])
            {
                HostException error = Assert.Throws<HostException>(
                    () => SnapshotWriter.Write(machine, Path.Combine(small, "snap"), Version, new SnapshotOptions { IsLive = isLive }));
                Assert.Contains("No space left on device", error.Message, StringComparison.Ordinal);
                Assert.Empty(Directory.GetFileSystemEntries(small));
                WaitForTicks(machine, 2);
            }

            Assert.Equal(0, Run("mount", "-o", "remount,ro", small));
            UsageException refused = Assert.Throws<UsageException>(
                () => SnapshotWriter.Write(machine, Path.Combine(small, "snap"), Version, new SnapshotOptions { IsLive = true }));
            Assert.Contains("ead-only file system", refused.Message, StringComparison.Ordinal);
            WaitForTicks(machine, 2);
            EndGuest(machine, run);
        }
        finally
        {
            Assert.Equal(0, Run("umount", small));
        }
    }

    [KvmTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_machine_is_saved_over_its_control_socket(bool isPaused)
    {
        MachineSpec spec = Spec with { Control = Path.Combine(_folder, "c.sock") };
        using ControlSocket socket = ControlSocket.Open(spec)!;
        using Machine machine = Machine.Build(spec);
        using ControlServer server = socket.Serve(machine, Version);
        using var run = new RunningMachine(machine);
        WaitForTicks(machine, 2);
        using var client = new ControlClient(spec.Control, "it");
        if (isPaused)
        {
            client.Ask("pause");
        }

        Assert.Contains("takes a whole path", Refused("relative"), StringComparison.Ordinal);
        Assert.Contains("no such file or directory", Refused("/nowhere/at/all"), StringComparison.Ordinal);
        JsonElement report = client.Ask("snapshot", Arguments(Saved));
        Assert.True(report.GetProperty("pause").GetDouble() > 0);
        Assert.True(report.GetProperty("memory").GetInt64() > 0);
        Assert.Contains("is there already", Refused(Saved), StringComparison.Ordinal);
        if (isPaused)
        {
            ulong still = Count(machine);
            Thread.Sleep(20);
            Assert.Equal(still, Count(machine));
            client.Ask("resume");
        }

        WaitForTicks(machine, 2);
        client.Ask("snapshot", Arguments(Saved + "2", stop: true));
        Assert.Equal(MachineEnd.Saved, run.WaitForEnd());
        using Snapshot snapshot = Snapshot.Open(Saved + "2");
        using Machine restored = snapshot.Restore(new Replacements());
        Assert.Equal(Count(machine), Count(restored));

        static JsonElement Arguments(string directory, bool stop = false) =>
            JsonSerializer.SerializeToElement(new SnapshotArguments(directory, stop), ControlJson.Default.SnapshotArguments);

        string Refused(string directory)
        {
            try
            {
                client.Ask("snapshot", Arguments(directory));
                return "";
            }
            catch (Exception error) when (error is UsageException or HostException)
            {
                return error.Message;
            }
        }
    }

    [KvmFact]
    public void A_machine_that_has_ended_is_not_saved()
    {
        using Machine machine = Machine.Build(Spec);
        using var run = new RunningMachine(machine);
        WaitForTicks(machine, 2);
        EndGuest(machine, run);
        Assert.Throws<HostException>(() => SnapshotWriter.Write(machine, Saved, Version, new SnapshotOptions { Patience = TimeSpan.FromSeconds(1) }));
        Assert.Empty(Directory.GetFileSystemEntries(_folder));
    }

    internal static int Run(string tool, params string[] arguments)
    {
        using Process process = Process.Start(tool, arguments);
        process.WaitForExit();
        return process.ExitCode;
    }

    /// <returns>How often the guest's timer had ticked when it was saved, or less.</returns>
    private ulong SaveRunning(MachineSpec spec)
    {
        using Machine machine = Machine.Build(spec);
        using var run = new RunningMachine(machine);
        WaitForTicks(machine, 3);
        ulong before = Count(machine);
        SnapshotReport report = SnapshotWriter.Write(machine, Saved, Version, new SnapshotOptions { Patience = Patience });
        Assert.InRange(report.MemoryBytes, 4096UL, 1UL << 20);
        WaitForTicks(machine, 2);
        EndGuest(machine, run);
        return before;
    }

    private Machine Restored(Replacements? with = null)
    {
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWay.Read);
        return snapshot.Restore(with ?? new Replacements());
    }

    private UsageException Refusal(Replacements? with = null) => Assert.Throws<UsageException>(() => Restored(with).Dispose());

    private void Change(string what, string by)
    {
        string path = Path.Combine(Saved, "snapshot.json");
        string text = File.ReadAllText(path);
        string changed = text.Replace(what, by, StringComparison.Ordinal);
        Assert.NotEqual(text, changed);
        changed = string.Concat(changed.AsSpan(0, 13), "00000000", changed.AsSpan(21));
        File.WriteAllText(path, string.Concat(changed.AsSpan(0, 13), $"{Crc32C.Of(System.Text.Encoding.UTF8.GetBytes(changed)):x8}", changed.AsSpan(21)));
    }

    private static ulong Count(Machine machine) => machine.Ram.Memory.Read<ulong>(new GuestAddress(Ticks));

    private static void WaitForTicks(Machine machine, ulong count) => machine.WaitForMore(Ticks, count);

    private static void EndGuest(Machine machine, RunningMachine run)
    {
        machine.Ram.Memory.Write(new GuestAddress(End), 1UL);
        Assert.Equal(MachineEnd.FromGuest(Code), run.WaitForEnd());
    }

    private static void EmitHalting(Assembler code)
    {
        Label loop = code.CreateLabel(), handler = code.CreateLabel();
        code.WriteMsr(ApicBase, 0xfee0_0000 | 0xd00);          // enabled, x2APIC, boot processor
        code.WriteMsr(Spurious, 0x1ff);
        code.SetGate(0x40, handler);
        code.LoadIdt();
        code.WriteMsr(Divide, 0xb);                            // by 1
        code.WriteMsr(LvtTimer, 0x2_0040);                     // periodic
        code.WriteMsr(InitialCount, 2_000_000);                // nanoseconds
        code.mov(rdi, Data);
        code.sti();
        code.Label(ref loop);
        code.hlt();
        code.inc(__qword_ptr[rdi]);
        code.cmp(__qword_ptr[rdi + 16], 0);
        code.je(loop);
        code.Exit((sbyte)Code);

        code.Label(ref handler);
        code.push(rax);
        code.push(rcx);
        code.push(rdx);
        code.mov(rax, Ticks);
        code.inc(__qword_ptr[rax]);
        code.WriteMsr(Eoi, 0);
        code.pop(rdx);
        code.pop(rcx);
        code.pop(rax);
        code.iretq();
    }
}
