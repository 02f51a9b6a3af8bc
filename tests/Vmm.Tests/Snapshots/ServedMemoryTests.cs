using Iced.Intel;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Snapshots.Forks;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Snapshots;

/// <summary>Machines whose memory comes page by page from a snapshot (<c>--lazy uffd</c>).</summary>
[Collection(Alone.Name)]
public sealed class ServedMemoryTests : IDisposable
{
    private const byte Code = 7;
    private const string Version = "0.1.0";
    private const ulong Request = 0x20_0000, Sum = Request + 8, From = 8 << 20, To = 24 << 20, Page = PageSet.PageBytes;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-served-").FullName;

    /// <summary>Adds up a number of each page when it is asked to (1), or ends (2).</summary>
    private readonly TestGuest _guest = new(static code =>
    {
        Label wait = code.CreateLabel(), end = code.CreateLabel(), add = code.CreateLabel();
        code.mov(rdi, Request);
        code.Label(ref wait);
        code.pause();
        code.mov(rax, __qword_ptr[rdi]);
        code.test(rax, rax);
        code.je(wait);
        code.cmp(rax, 2);
        code.je(end);
        code.mov(rsi, From);
        code.xor(rax, rax);
        code.Label(ref add);
        code.add(rax, __qword_ptr[rsi]);
        code.add(rsi, (int)Page);
        code.cmp(rsi, (int)To);
        code.jb(add);
        code.mov(__qword_ptr[rdi + 8], rax);
        code.mov(__qword_ptr[rdi], 0);
        code.jmp(wait);
        code.Label(ref end);
        code.Exit((sbyte)Code);
    });

    private string Saved => Path.Combine(_folder, "snap");

    private MachineSpec Spec => new() { Kernel = _guest.Path, Memory = 32UL << 20, Balloon = true };

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void The_guest_finds_its_memory_and_what_was_given_back_is_zero()
    {
        ulong sum = Save();
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWay.Serve);
        using Machine machine = snapshot.Restore(new Replacements());
        if (machine.Ram.Server is null)
        {
            return;
        }

        ulong given = machine.Ram.Memory.Read<ulong>(new GuestAddress(From + Page));
        Assert.True(machine.Ram.Release(machine.Ram.HostStart + (nint)(From + Page), (nuint)Page));
        using var run = new RunningMachine(machine);
        Assert.Equal(sum - given, Ask(machine));
        machine.Ram.Server.Complete();
        Assert.Equal(sum - given, Ask(machine));
        EndGuest(machine, run);
    }

    /// <summary>Each is taken before all of the memory is there.</summary>
    [KvmTheory]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    [InlineData("plain")]
    [InlineData("live")]
    [InlineData("diff")]
    [InlineData("fork")]
    [InlineData("rewind")]
    public void What_has_not_come_yet_is_in_what_is_made_of_it(string what)
    {
        ulong sum = Save();
        string again = Path.Combine(_folder, "again");
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWay.Serve);
        using Machine machine = snapshot.Restore(new Replacements());
        WrittenSince since = WrittenSince.Of(machine);
        using var run = new RunningMachine(machine);
        switch (what)
        {
            case "fork":
                using (ForkFiles files = ForkFiles.Create(overlays: 0))
                {
                    ForkWriter.Write(machine, files.Paths);
                    using var image = new ForkImage(new ForkNumber(1), [.. files.Paths.Select(static path => FileDescriptor.Open(path, LibC.O_RDONLY))]);
                    using Machine fork = Machine.Restore(machine.Spec, image);
                    AssertSum(fork, sum);
                }

                break;
            case "rewind":
                machine.Ram.Memory.Write(new GuestAddress(From), 12345UL);
                Rewind.Run(machine, since, Patience, isPaused: false);
                Assert.Equal(sum, Ask(machine));
                machine.Ram.Memory.Write(new GuestAddress(From), 12345UL);
                Rewind.Run(machine, since, Patience, isPaused: false);
                break;
            default:
                SnapshotWriter.Write(machine, again, Version, new SnapshotOptions
                {
                    IsLive = what == "live",
                    Base = what == "diff" ? snapshot : null,
                    Since = since,
                });
                if (what == "diff")
                {
                    SnapshotMerge.Merge(Saved, again, again = Path.Combine(_folder, "merged"));
                }

                using (Snapshot made = Snapshot.Open(again, MemoryWay.Serve))
                using (Machine other = made.Restore(new Replacements()))
                {
                    AssertSum(other, sum);
                }

                break;
        }

        Assert.Equal(sum, Ask(machine));
        EndGuest(machine, run);
    }

    /// <summary>As any user but root has it, on a thread of its own: Linux has user ids for each thread.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Where_the_host_forbids_it_the_file_is_mapped()
    {
        const int SetResUid = 117, Nobody = 65534;
        Save();
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWay.Serve);
        Exception? failure = null;
        var other = new Thread(() =>
        {
            try
            {
                _ = LibC.syscall(SetResUid, Nobody, Nobody, Nobody);
                using FileDescriptor? faults = FaultServer.TryOpen(out string obstacle);
                using var ram = new GuestRam(Spec.Memory, saved: snapshot);
                if (faults is null)
                {
                    Assert.Contains("vm.unprivileged_userfaultfd=1", obstacle, StringComparison.Ordinal);
                    Assert.Null(ram.Server);
                    Assert.NotNull(ram.Content);
                }

                Assert.Equal(From * 0x9e37_79b9, ram.Memory.Read<ulong>(new GuestAddress(From)));
            }
            catch (Exception error)
            {
                failure = error;
            }
        });
        other.Start();
        other.Join();
        Assert.Null(failure);
    }

    /// <summary>The guest runs until it touches what is not there any more, or until vmm comes to it.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_file_that_is_damaged_ends_the_machine()
    {
        Save();
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWay.Serve);
        using (FileStream file = File.OpenWrite(Path.Combine(Saved, "memory")))
        {
            file.Position = (long)To - 1;
            file.WriteByte(0xee);
        }

        using Machine machine = snapshot.Restore(new Replacements());
        if (machine.Ram.Server is null)
        {
            return;
        }

        MachineEnd end = machine.Run();
        Assert.Equal(MachineEndKind.HostFailed, end.Kind);
        Assert.Contains($"{Saved}/memory: is damaged between its bytes", end.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Map")]
    [InlineData("")]
    [InlineData("userfaultfd")]
    public void Another_word_for_the_way_is_refused(string word) => Assert.Equal(
        $"--lazy {word}: there are map, uffd and read", Assert.Throws<UsageException>(() => MemoryWays.Parse(word)).Message);

    /// <returns>What the guest has to find.</returns>
    private ulong Save()
    {
        using Machine machine = Machine.Build(Spec);
        ulong sum = 0;
        for (ulong at = From; at < To; at += Page)
        {
            machine.Ram.Memory.Write(new GuestAddress(at), at * 0x9e37_79b9);
            sum += at * 0x9e37_79b9;
        }

        using var run = new RunningMachine(machine);
        Assert.Equal(sum, Ask(machine));
        SnapshotWriter.Write(machine, Saved, Version, new SnapshotOptions { Ends = true });
        Assert.Equal(MachineEnd.Saved, run.WaitForEnd());
        return sum;
    }

    private static void AssertSum(Machine machine, ulong sum)
    {
        using var run = new RunningMachine(machine);
        Assert.Equal(sum, Ask(machine));
        EndGuest(machine, run);
    }

    private static ulong Ask(Machine machine)
    {
        machine.Ram.Memory.Write(new GuestAddress(Request), 1UL);
        Assert.True(SpinWait.SpinUntil(() => machine.Ram.Memory.Read<ulong>(new GuestAddress(Request)) == 0, Patience));
        return machine.Ram.Memory.Read<ulong>(new GuestAddress(Sum));
    }

    private static void EndGuest(Machine machine, RunningMachine run)
    {
        machine.Ram.Memory.Write(new GuestAddress(Request), 2UL);
        Assert.Equal(MachineEnd.FromGuest(Code), run.WaitForEnd());
    }
}
