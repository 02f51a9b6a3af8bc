using System.Buffers.Binary;
using Iced.Intel;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Snapshots;

/// <summary>A machine that writes to memory below and above the hole all the time is saved while it runs.</summary>
[Collection(Alone.Name)]
public sealed class LiveSnapshotTests : IDisposable
{
    private const byte Code = 7, Wrong = 1;
    private const string Version = "0.1.0";
    private const ulong Low = 32 << 20, High = 1UL << 32, Pages = 512, Page = PageSet.PageBytes;
    private const ulong End = 0x20_0000, Directory = 0x30_0000;
    private const ulong LastPage = High + ((Pages - 1) * Page);
    private const ulong Pdpt = 0xa000;          // Layout.PageTables, its second page

    private readonly string _folder = System.IO.Directory.CreateTempSubdirectory("vmm-live-").FullName;
    private readonly TestGuest _guest = new(EmitWriter);

    private MachineSpec Spec => new() { Kernel = _guest.Path, Memory = (3UL << 30) + (64 << 20), Cpus = 1 };

    public void Dispose()
    {
        _guest.Dispose();
        System.IO.Directory.Delete(_folder, recursive: true);
    }

    /// <summary>In round n the guest writes n to each page in turn, and checks that n - 1 was there. So in memory as it was at one
    /// moment there is n up to some page, and n - 1 from there on.</summary>
    [KvmFact(MemoryGib = 4)]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Memory_in_the_snapshot_is_that_of_one_moment()
    {
        using Machine machine = Machine.Build(Spec);
        using var run = new RunningMachine(machine);
        for (int round = 0; round < 5; round++)
        {
            WaitForRounds(machine, 3);
            string saved = Path.Combine(_folder, $"snap{round}");
            ulong before = Round(machine);
            SnapshotReport report = SnapshotWriter.Write(machine, saved, Version, new SnapshotOptions { IsLive = true });
            if (report.Note is null)
            {
                Assert.InRange(report.Stops, 3, 6);
                Assert.True(report.LongestPause < report.Pause);
            }

            AssertOneMoment(saved, before, Round(machine));
        }

        EndGuest(machine, run);
        for (int round = 0; round < 5; round++)
        {
            // The guest finds in memory what its registers say, or ends with another code.
            using Snapshot snapshot = Snapshot.Open(Path.Combine(_folder, $"snap{round}"), MemoryWay.Read);
            using Machine restored = snapshot.Restore(new Replacements());
            using var again = new RunningMachine(restored);
            WaitForRounds(restored, 2);
            EndGuest(restored, again);
        }
    }

    /// <summary>Against a base of which the machine knows what was written to since, and one of which it does not.</summary>
    [KvmTheory]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    [InlineData(true)]
    [InlineData(false)]
    public void A_diff_and_its_base_are_the_memory_of_one_moment(bool isTracked)
    {
        string from = Path.Combine(_folder, "base"), diff = Path.Combine(_folder, "diff"), whole = Path.Combine(_folder, "whole");
        using (Machine machine = Machine.Build(Spec))
        {
            var since = new WrittenSince(machine.Ram);
            using var run = new RunningMachine(machine);
            WaitForRounds(machine, 3);
            SnapshotWriter.Write(machine, from, Version, new SnapshotOptions { IsLive = isTracked, Since = since });
            using Snapshot saved = Snapshot.OpenAny(from);
            for (int round = 0; round < 3; round++)
            {
                WaitForRounds(machine, 2);
                ulong before = Round(machine);
                SnapshotReport report = SnapshotWriter.Write(
                    machine, $"{diff}{round}", Version, new SnapshotOptions { IsLive = round == 1, Since = since, Base = saved });
                ulong after = Round(machine);
                Assert.InRange(report.MemoryBytes, 2 * Pages * Page, (2 * Pages * Page) + (isTracked ? 1UL << 20 : 64 << 10));
                SnapshotMerge.Merge(from, $"{diff}{round}", $"{whole}{round}");
                AssertOneMoment($"{whole}{round}", before, after);
            }

            EndGuest(machine, run);
        }

        using Snapshot snapshot = Snapshot.Open($"{whole}2", MemoryWay.Read);
        using Machine restored = snapshot.Restore(new Replacements());
        using var again = new RunningMachine(restored);
        WaitForRounds(restored, 3);
        EndGuest(restored, again);
    }

    /// <summary>It is there whole, or not at all, whenever the machine ends.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_machine_that_ends_while_it_is_saved_leaves_nothing()
    {
        int whole = 0;
        for (int round = 0; round < 12; round++)
        {
            string saved = Path.Combine(_folder, $"ends{round}");
            using Machine machine = Machine.Build(Spec);
            using var run = new RunningMachine(machine);
            WaitForRounds(machine, 3);
            Task<bool> saving = Task.Run(() =>
            {
                try
                {
                    SnapshotWriter.Write(
                        machine, saved, Version, new SnapshotOptions { IsLive = true, IsDurable = false, Patience = TimeSpan.FromSeconds(1) });
                    return true;
                }
                catch (HostException)
                {
                    return false;
                }
            });
            Thread.Sleep(3 * round);
            EndGuest(machine, run);
            bool isWhole = saving.GetAwaiter().GetResult();
            whole += isWhole ? 1 : 0;
            Assert.Equal(isWhole, System.IO.Directory.Exists(saved));
            Assert.False(System.IO.Directory.Exists(saved + ".partial"));
            if (isWhole)
            {
                Snapshot.Open(saved).Dispose();
            }
        }

        Assert.True(whole < 12, "it never ended before it was saved");
    }

    private static void AssertOneMoment(string saved, ulong least, ulong most)
    {
        using SafeFileHandle memory = File.OpenHandle(Path.Combine(saved, "memory"));
        ulong first = Value(0), previous = first;
        Assert.InRange(first, least, most + 1);
        for (ulong i = 1; i < 2 * Pages; i++)
        {
            ulong value = Value(i);
            Assert.True(value == previous || (value == first - 1 && previous == first), $"page {i} is of round {value}, the one before of {previous}");
            previous = value;
        }

        ulong Value(ulong index)
        {
            byte[] bytes = new byte[8];
            Assert.Equal(8, RandomAccess.Read(memory, bytes, (long)(index < Pages ? Low + (index * Page) : (3UL << 30) + ((index - Pages) * Page))));
            return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        }
    }

    internal static ulong Round(Machine machine) => machine.Ram.Memory.Read<ulong>(new GuestAddress(LastPage));

    internal static void WaitForRounds(Machine machine, ulong count) => machine.WaitForMore(LastPage, count);

    internal static void EndGuest(Machine machine, RunningMachine run)
    {
        machine.Ram.Memory.Write(new GuestAddress(End), 1UL);
        Assert.Equal(MachineEnd.FromGuest(Code), run.WaitForEnd());
    }

    internal static void EmitWriter(Assembler code)
    {
        Label round = code.CreateLabel(), wrong = code.CreateLabel();
        code.mov(rax, Directory | 3);           // present, writable
        code.mov(__qword_ptr[Pdpt + 32], rax);  // the fifth GiB
        code.mov(rax, High | 0x83);             // 2 MiB, all of Pages
        code.mov(rbx, Directory);
        code.mov(__qword_ptr[rbx], rax);
        code.mov(rax, cr3);
        code.mov(cr3, rax);
        code.mov(r8d, 1);
        code.xor(r9d, r9d);
        code.mov(rbx, End);
        code.Label(ref round);
        EmitPass(code, Low, ref wrong);
        EmitPass(code, High, ref wrong);
        code.mov(r9, r8);
        code.inc(r8);
        code.cmp(__qword_ptr[rbx], 0);
        code.je(round);
        code.Exit((sbyte)Code);
        code.Label(ref wrong);
        code.Exit((sbyte)Wrong);
    }

    private static void EmitPass(Assembler code, ulong start, ref Label wrong)
    {
        Label page = code.CreateLabel();
        code.mov(rsi, start);
        code.mov(ecx, (int)Pages);
        code.Label(ref page);
        code.cmp(__qword_ptr[rsi], r9);
        code.jne(wrong);
        code.mov(__qword_ptr[rsi], r8);
        code.add(rsi, (int)Page);
        code.dec(ecx);
        code.jne(page);
    }
}
