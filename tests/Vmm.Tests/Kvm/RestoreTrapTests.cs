using System.Text;
using System.Text.Json.Nodes;
using Iced.Intel;
using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Kvm.Abi;
using Vmm.Machines;
using Vmm.Snapshots;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;
using static Vmm.Tests.Kvm.ApplicationProcessors;

namespace Vmm.Tests.Kvm;

/// <summary>Faults that other monitors had when a machine went on from a saved state (docs/snapshots.md has the list).</summary>
[Collection(Alone.Name)]
public sealed class RestoreTrapTests
{
    private const byte Code = 7, Early = 8;
    private const ulong Data = 0x20_0000, Ready = Data, Clock = 0x22_0000;
    private const uint Tsc = 0x10, TscDeadline = 0x6e0, Eoi = 0x80b, Spurious = 0x80f, LvtTimer = 0x832, DeadlineMode = 0x4_0000;
    private const uint KvmWallClock = 0x4b56_4d00, KvmSystemTime = 0x4b56_4d01, KvmStealTime = 0x4b56_4d03, KvmEoi = 0x4b56_4d04;

    // HV_X64_MSR_VP_RUNTIME and HV_X64_MSR_TIME_REF_COUNT: counters, too.
    private const uint HypervRunTime = 0x4000_0010, HypervTime = 0x4000_0020;

    // struct pvclock_vcpu_time_info: flags, and the one that says that the host had it stand still.
    private const ulong ClockFlags = Clock + 29;
    private const byte GuestStopped = 2;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Firecracker 4099: the deadline is a time of the guest's counter, so it is loaded after that. The counter is far ahead of
    /// that of a new VM: a deadline that is taken to be of the latter would be days away.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void A_deadline_is_loaded_when_the_counter_is()
    {
        using var guest = new TestGuest(static code =>
        {
            Label handler = code.CreateLabel(), early = code.CreateLabel();
            code.WriteMsr(ApicBase, BootX2Apic);
            code.WriteMsr(Spurious, 0x1ff);
            code.SetGate(0x40, handler);
            code.LoadIdt();
            code.WriteMsr(Tsc, 0, 0x10_0000);                   // 2^52
            code.WriteMsr(LvtTimer, DeadlineMode | 0x40);
            code.ReadTsc();
            code.mov(rbx, 4_000_000_000);                       // a second or two
            code.add(rax, rbx);
            code.mov(r12, rax);
            code.mov(rdx, rax);
            code.shr(rdx, 32);
            code.mov(ecx, TscDeadline);
            code.wrmsr();
            code.mov(rdi, Ready);
            code.inc(__qword_ptr[rdi]);
            code.sti();
            code.HaltForEver();

            code.Label(ref handler);
            code.ReadTsc();
            code.cmp(rax, r12);
            code.jb(early);
            code.Exit((sbyte)Code);
            code.Label(ref early);
            code.Exit((sbyte)Early);
        });
        var spec = new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20 };
        if (Save(spec, out JsonNode? state, out byte[]? memory, KvmCapability.KVM_CAP_TSC_DEADLINE_TIMER))
        {
            using Machine second = Restored(spec, state, memory);
            using var again = new RunningMachine(second);
            Assert.True(again.Task.Wait(Patience), "the guest waits for its timer");
            Assert.Equal(MachineEnd.FromGuest(Code), again.Task.Result);
        }
    }

    /// <summary>Firecracker 5738 and 6120. A guest that has set up all of KVM's own: what is loaded is what was saved, so each was in the
    /// list, and CPUID, which decides which of them there are, came before.</summary>
    [KvmFact]
    public void Every_MSR_is_there_again_and_KVMs_own_are_among_them()
    {
        using var guest = new TestGuest(static code =>
        {
            code.WriteMsr(KvmWallClock, (uint)Clock + 0x100);
            code.WriteMsr(KvmSystemTime, (uint)Clock | 1);
            code.WriteMsr(KvmStealTime, ((uint)Clock + 0x200) | 1);
            code.WriteMsr(KvmEoi, ((uint)Clock + 0x300) | 1);
            EmitHalting(code);
        });
        var spec = new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20 };
        Assert.True(Save(spec, out JsonNode? state, out byte[]? memory));
        Dictionary<uint, ulong> before = Msrs(state!);
        Assert.Equal(Clock | 1, before[KvmSystemTime]);
        Assert.Equal((Clock + 0x200) | 1, before[KvmStealTime]);
        Assert.Equal((Clock + 0x300) | 1, before[KvmEoi]);
        using Machine second = Restored(spec, state, memory);
        Dictionary<uint, ulong> after = Msrs(JsonNode.Parse(StateWriter.Save(second.State))!);
        Assert.Equal(before.Keys.Order(), after.Keys.Order());
        foreach ((uint index, ulong value) in before)
        {
            Assert.True(index is Tsc or HypervRunTime or HypervTime || after[index] == value, $"MSR 0x{index:x} was 0x{value:x} and is 0x{after[index]:x}");
        }

        Assert.True(after[Tsc] >= before[Tsc], "the counter went back");
    }

    /// <summary>Firecracker 5322: Linux asks this flag before it says that a processor was stuck (pvclock_touch_watchdogs).</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.SpinsWithInterruptsOff)]
    public void The_guests_clock_says_that_it_stood_still_before_the_guest_goes_on()
    {
        using var guest = new TestGuest(static code =>
        {
            Label loop = code.CreateLabel();
            code.WriteMsr(KvmSystemTime, (uint)Clock | 1);
            code.mov(rdi, Ready);
            code.Label(ref loop);
            code.inc(__qword_ptr[rdi]);                         // KVM writes the clock when the guest is entered
            code.jmp(loop);
        });
        string folder = Directory.CreateTempSubdirectory("vmm-trap-").FullName, saved = Path.Combine(folder, "snap");
        try
        {
            using (Machine first = Machine.Build(new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20 }))
            {
                using var begun = new RunningMachine(first);
                first.WaitForNumber(Ready, 1);
                SnapshotWriter.Write(first, saved, "0.1.0", new SnapshotOptions { Ends = true });
                begun.WaitForEnd();
            }

            using Snapshot snapshot = Snapshot.Open(saved);
            using Machine second = snapshot.Restore(new Replacements());
            Assert.Equal(0, second.Ram.Memory.Read<byte>(new GuestAddress(ClockFlags)) & GuestStopped);
            using var run = new RunningMachine(second);
            Assert.True(
                SpinWait.SpinUntil(() => (second.Ram.Memory.Read<byte>(new GuestAddress(ClockFlags)) & GuestStopped) != 0, Patience),
                "the guest is not told that it stood still");
            second.End(MachineEnd.Quit);
            run.WaitForEnd();
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>One processor sends interrupts to another, which halts between them, and counts those that come: it sends the next when
    /// it has seen the count of the last. An interrupt that is lost in a state stops it, one that is there twice is counted.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void An_interrupt_between_two_processors_is_neither_lost_nor_doubled()
    {
        const int Rounds = 12;
        const ulong Sent = Data + 8, Received = Data + 16;
        using var guest = new TestGuest(static code =>
        {
            Label wait = code.CreateLabel(), loop = code.CreateLabel(), seen = code.CreateLabel();
            code.WriteMsr(ApicBase, BootX2Apic);
            code.WriteMsr(Spurious, 0x1ff);
            code.WriteMsr(Icr, 0x4500, 1);                      // INIT to APIC id 1
            code.WriteMsr(Icr, 0x4600 | (uint)(Trampoline >> 12), 1);
            code.Label(ref wait);
            code.WaitByExit();
            code.cmp(__dword_ptr[(uint)Found + 4], 1);
            code.jne(wait);
            code.mov(rdi, Data);
            code.Label(ref loop);
            code.inc(__qword_ptr[rdi + 8]);
            code.mov(__qword_ptr[rdi], 1);
            code.WriteMsr(Icr, 0x4041, 1);                      // vector 0x41
            code.Label(ref seen);
            code.WaitByExit();
            code.mov(eax, __dword_ptr[(uint)Found + 8]);
            code.mov(__[rdi + 16], rax);
            code.cmp(rax, __[rdi + 8]);
            code.jb(seen);
            code.je(loop);
            code.Exit((sbyte)Early);                            // one more than were sent
        });
        var spec = new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20, Cpus = 2 };
        JsonNode? state = null;
        byte[]? memory = null;
        for (int round = 0; round < Rounds; round++)
        {
            using Machine machine = state is null ? Machine.Build(spec) : Restored(spec, state, memory);
            if (state is null)
            {
                WriteReceiver(machine);
            }

            ulong before = machine.Ram.Memory.Read<ulong>(new GuestAddress(Received));
            using var run = new RunningMachine(machine);
            Assert.True(
                SpinWait.SpinUntil(() => run.Task.IsCompleted || machine.Ram.Memory.Read<ulong>(new GuestAddress(Received)) > before + 3, Patience),
                $"round {round}: stuck at {machine.Ram.Memory.Read<ulong>(new GuestAddress(Sent))} sent and {before} received");
            Assert.False(run.Task.IsCompleted, $"round {round}: {(run.Task.IsCompleted ? run.Task.Result : null)}");
            (state, memory) = Stop(machine, run);
        }
    }

    private static void EmitHalting(Assembler code)
    {
        code.mov(rdi, Ready);
        code.inc(__qword_ptr[rdi]);
        code.HaltForEver();
    }

    /// <summary>The second processor, in real mode: it counts interrupts, and halts between them.</summary>
    private static void WriteReceiver(Machine machine)
    {
        const ulong Handler = Trampoline + 0x1000;
        Write(machine, Trampoline, static code =>
        {
            code.cli();
            code.mov(ax, (ushort)(Found >> 4));
            code.mov(ds, ax);
            code.mov(ss, ax);
            code.mov(sp, 0x8000);
            code.WriteMsr(ApicBase, OtherX2Apic);
            code.WriteMsr(Spurious, 0x1ff);
            code.mov(__dword_ptr[4], 1);
            code.sti();
            code.HaltForEver();
        });
        Write(machine, Handler, static code =>
        {
            code.push(eax);
            code.push(ecx);
            code.push(edx);
            code.inc(__dword_ptr[8]);
            code.WriteMsr(Eoi, 0);
            code.pop(edx);
            code.pop(ecx);
            code.pop(eax);
            code.iret();
        });
        machine.Ram.Memory.Write(new GuestAddress(0x41 * 4), (uint)(Handler >> 4) << 16);     // CS:IP in the real-mode vector table
    }

    private static void Write(Machine machine, ulong address, Action<Assembler> emit)
    {
        var code = new Assembler(16);
        emit(code);
        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), address & 0xffff);
        machine.Ram.Memory.Write(new GuestAddress(address), bytes.ToArray());
    }

    /// <summary>Saves the machine once its guest is ready.</summary>
    /// <returns>False where the host lacks what the test is about, or was too slow for it.</returns>
    private static bool Save(MachineSpec spec, out JsonNode? state, out byte[]? memory, KvmCapability? needed = null)
    {
        (state, memory) = (null, null);
        using Machine machine = Machine.Build(spec);
        if (needed is { } capability && machine.Kvm.Check(capability) == 0)
        {
            return false;
        }

        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Ready, 1);
        if (run.Task.IsCompleted)
        {
            return false;
        }

        (state, memory) = Stop(machine, run);
        return state is not null;
    }

    private static (JsonNode? State, byte[]? Memory) Stop(Machine machine, RunningMachine run)
    {
        while (!machine.TryQuiesce(Patience))
        {
            if (run.Task.IsCompleted)
            {
                return (null, null);
            }
        }

        JsonNode state = JsonNode.Parse(StateWriter.Save(machine.State))!;
        byte[] memory = MemoryOf(machine).ToArray();
        machine.End(MachineEnd.Quit);
        run.WaitForEnd();
        return (state, memory);
    }

    private static Machine Restored(MachineSpec spec, JsonNode? state, byte[]? memory)
    {
        Machine machine = Machine.Build(spec);
        memory.CopyTo(MemoryOf(machine));
        StateReader.Load(Encoding.UTF8.GetBytes(state!.ToJsonString()), "machine", machine.State);
        return machine;
    }

    private static Dictionary<uint, ulong> Msrs(JsonNode state) => state["vm"]!["vcpus"]![0]!["msrs"]!.AsArray()
        .ToDictionary(static msr => (uint)msr!["index"]!, static msr => (ulong)msr!["value"]!);

    private static unsafe Span<byte> MemoryOf(Machine machine)
    {
        // SAFETY: the only region, mapped as long as the machine is.
        GuestRegion region = Assert.Single(machine.Ram.Memory.Regions.ToArray());
        return new Span<byte>((void*)region.Host, (int)region.Length);
    }
}
