using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Iced.Intel;
using Vmm.Boot;
using Vmm.Devices.Acpi;
using Vmm.Devices.Memory;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Snapshots;

/// <summary>A guest that takes the event of its generation ID, as a driver does: by the SCI, with what is in memory then.</summary>
[Collection(Alone.Name)]
public sealed class GenerationTests : IDisposable
{
    private const byte Code = 7, Vector = 0x50;
    private const ulong Data = 0x20_0000;
    private const ulong Started = Data, Events = Data + 8, End = Data + 16, Seen = Data + 32, Random = Data + 48;
    private const uint ApicBase = 0x1b, Eoi = 0x80b, Spurious = 0x80f;

    // A generator of the guest's own, as programs have one: seeded, and seeded again by the event.
    private const ulong Seed = 42, Multiplier = 6364136223846793005;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-generation-").FullName;
    private readonly TestGuest _guest = new(EmitListening);

    private string Saved => Path.Combine(_folder, "snap");

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [KvmFact]
    public void Each_machine_that_goes_on_is_told_once_of_a_number_of_its_own()
    {
        var numbers = new HashSet<UInt128> { SaveStarted() };
        var random = new HashSet<ulong> { Draw(Seed) };       // what both would draw next, were they not told
        using (Snapshot snapshot = Snapshot.Open(Saved))
        {
            using Machine one = snapshot.Restore(new Replacements());
            using Machine other = snapshot.Restore(new Replacements());
            foreach (Machine machine in (Machine[])[one, other])
            {
                using var run = new RunningMachine(machine);
                machine.WaitForNumber(Events, 1);
                Assert.True(numbers.Add(machine.Ram.Memory.Read<UInt128>(new GuestAddress(Seen))));
                Assert.Equal(Number(machine), machine.Ram.Memory.Read<UInt128>(new GuestAddress(Seen)));
                Assert.True(random.Add(machine.Ram.Memory.Read<ulong>(new GuestAddress(Random))), "a generator of the guest's own was not seeded again");

                // Saved and going on, it is the same machine still.
                SnapshotWriter.Write(machine, $"{Saved}{numbers.Count}", "0.1.0", new SnapshotOptions());
                EndGuest(machine, run);
                Assert.Equal(1UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(Events)));
            }
        }

        // One that was restored is restored again.
        using Snapshot second = Snapshot.Open($"{Saved}3");
        using Machine third = second.Restore(new Replacements());
        using var last = new RunningMachine(third);
        third.WaitForNumber(Events, 2);
        Assert.True(numbers.Add(third.Ram.Memory.Read<UInt128>(new GuestAddress(Seen))));
        EndGuest(third, last);
    }

    /// <summary>Its guest knows of no generation ID: what is in memory there is its own.</summary>
    [KvmFact]
    public void A_snapshot_of_an_older_vmm_goes_on()
    {
        UInt128 number = SaveStarted();
        RewriteState(static state =>
        {
            Assert.True(state.Remove("generation"));
            JsonObject power = state["power"]!.AsObject();
            Assert.True(power.Remove("eventStatus"));
            power["version"] = 1;
        });
        using Snapshot snapshot = Snapshot.Open(Saved, MemoryWay.Read);
        using Machine machine = snapshot.Restore(new Replacements());
        Assert.Equal(number, Number(machine));
        using var run = new RunningMachine(machine);
        string again = Saved + "again";
        Assert.True(SpinWait.SpinUntil(() => machine.FirstEntry != 0, Patience));
        SnapshotWriter.Write(machine, again, "0.1.0", new SnapshotOptions());
        EndGuest(machine, run);
        Assert.Equal(0UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(Events)));
        using Snapshot second = Snapshot.Open(again, MemoryWay.Read);
        using Machine third = second.Restore(new Replacements());
        Assert.Equal(number, Number(third));
    }

    [KvmFact]
    public void A_snapshot_of_a_newer_vmm_is_refused_by_name()
    {
        SaveStarted();
        RewriteState(static state => state["power"]!.AsObject()["version"] = 3);
        using Snapshot snapshot = Snapshot.Open(Saved);
        UsageException error = Assert.Throws<UsageException>(() => snapshot.Restore(new Replacements()).Dispose());
        Assert.Contains("machine.power.version: 3 is not known to this vmm (1 to 2 are)", error.Message, StringComparison.Ordinal);
    }

    private static ulong Draw(ulong state) => (state * Multiplier) + 1;

    private static UInt128 Number(Machine machine) => machine.Ram.Memory.Read<UInt128>(new GuestAddress(Layout.GenerationId));

    /// <returns>The number that the guest found.</returns>
    private UInt128 SaveStarted()
    {
        using Machine machine = Machine.Build(new MachineSpec { Kernel = _guest.Path, Memory = 32UL << 20 });
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Started, 1);
        UInt128 number = Number(machine);
        Assert.NotEqual(UInt128.Zero, number);
        SnapshotWriter.Write(machine, Saved, "0.1.0", new SnapshotOptions { Patience = Patience, Ends = true });
        Assert.Equal(MachineEnd.Saved, run.WaitForEnd());
        Assert.Equal(0UL, machine.Ram.Memory.Read<ulong>(new GuestAddress(Events)));
        return number;
    }

    /// <summary>Changes the state, and what the head says of it.</summary>
    private void RewriteState(Action<JsonObject> change)
    {
        string path = Path.Combine(Saved, SnapshotFiles.State), headPath = Path.Combine(Saved, SnapshotFiles.Head);
        JsonObject state = JsonNode.Parse(File.ReadAllBytes(path))!.AsObject();
        change(state);
        byte[] bytes = Encoding.UTF8.GetBytes(state.ToJsonString());
        File.WriteAllBytes(path, bytes);
        string head = Regex.Replace(
            File.ReadAllText(headPath), "\"state\":\\{\"bytes\":\\d+,\"crc32c\":\\d+\\}",
            string.Create(CultureInfo.InvariantCulture, $"\"state\":{{\"bytes\":{bytes.Length},\"crc32c\":{Crc32C.Of(bytes)}}}"));
        head = string.Concat(head.AsSpan(0, 13), "00000000", head.AsSpan(21));
        File.WriteAllText(headPath, string.Concat(head.AsSpan(0, 13), $"{Crc32C.Of(Encoding.UTF8.GetBytes(head)):x8}", head.AsSpan(21)));
    }

    private static void EndGuest(Machine machine, RunningMachine run)
    {
        machine.Ram.Memory.Write(new GuestAddress(End), 1UL);
        machine.PressPowerButton();
        Assert.Equal(MachineEnd.FromGuest(Code), run.WaitForEnd());
    }

    private static void EmitListening(Assembler code)
    {
        Label loop = code.CreateLabel(), handler = code.CreateLabel(), button = code.CreateLabel(), done = code.CreateLabel();
        code.WriteMsr(ApicBase, 0xfee0_0000 | 0xd00);          // enabled, x2APIC, boot processor
        code.WriteMsr(Spurious, 0x1ff);
        code.SetGate(Vector, handler);
        code.LoadIdt();
        code.mov(eax, 0xff);                                   // the PIC, which has no vectors yet, would have its interrupt, too
        code.@out(0x21, al);
        code.@out(0xa1, al);
        code.mov(rsi, Layout.IoApic);
        code.mov(__dword_ptr[rsi], 0x11 + (2 * PowerManagement.SciIrq));
        code.mov(__dword_ptr[rsi + 0x10], 0);                  // to APIC id 0
        code.mov(__dword_ptr[rsi], 0x10 + (2 * PowerManagement.SciIrq));
        code.mov(__dword_ptr[rsi + 0x10], 0x8000 | Vector);    // level, active high
        code.mov(eax, 0x100);
        code.mov(dx, PowerManagement.EventPort + 2);
        code.@out(dx, ax);                                     // the power button wakes it for its end
        code.mov(eax, 1 << PowerManagement.GenerationEvent);
        code.mov(dx, PowerManagement.GeneralEventPort + 2);
        code.@out(dx, ax);
        code.mov(rdi, Data);
        code.mov(__qword_ptr[rdi + 48], (int)Seed);
        code.inc(__qword_ptr[rdi]);
        code.Label(ref loop);
        code.sti();
        code.hlt();
        code.cli();
        code.cmp(__qword_ptr[rdi + 16], 0);
        code.je(loop);
        code.Exit((sbyte)Code);

        code.Label(ref handler);
        code.push(rax);
        code.push(rcx);
        code.push(rdx);
        code.mov(dx, PowerManagement.GeneralEventPort);
        code.@in(ax, dx);
        code.test(ax, 1 << PowerManagement.GenerationEvent);
        code.jz(button);
        code.@out(dx, ax);                                     // cleared before it is handled
        code.mov(rcx, Layout.GenerationId);
        code.mov(rax, __[rcx]);
        code.mov(__[rdi + 32], rax);
        code.xor(rax, __[rdi + 48]);
        code.mov(rdx, Multiplier);
        code.imul(rax, rdx);
        code.inc(rax);
        code.mov(__[rdi + 48], rax);
        code.mov(rax, __[rcx + 8]);
        code.mov(__[rdi + 40], rax);
        code.inc(__qword_ptr[rdi + 8]);
        code.jmp(done);
        code.Label(ref button);
        code.mov(dx, PowerManagement.EventPort);
        code.mov(eax, 0x100);
        code.@out(dx, ax);
        code.Label(ref done);
        code.WriteMsr(Eoi, 0);
        code.pop(rdx);
        code.pop(rcx);
        code.pop(rax);
        code.iretq();
    }
}
