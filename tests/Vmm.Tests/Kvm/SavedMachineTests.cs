using System.Diagnostics;
using System.Text.Json.Nodes;
using Iced.Intel;
using Vmm.Devices.Legacy;
using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm;

/// <summary>Machines that stand still, are saved, and go on in another VM of this process.</summary>
[Collection(Alone.Name)]
public sealed class SavedMachineTests
{
    private const byte ExitPort = 0xf4, Code = 7;
    private const ulong Trampoline = 0x4_0000, Handler = 0x4_1000, ApData = 0x5_0000, BspData = 0x20_0000;
    private const uint ApicBase = 0x1b, Eoi = 0x80b, Spurious = 0x80f, Icr = 0x830, LvtTimer = 0x832, InitialCount = 0x838, Divide = 0x83e;
    private const uint TimerTicks = 2_000_000;      // APIC bus cycles of KVM, a nanosecond each

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Both vCPUs count, and count the interrupts of timers of their own; the first in long mode, the other in
    /// real mode, as the start-up IPI left it.</summary>
    [KvmWithXsaveFact]
    public void Two_vCPUs_with_timers_go_on_in_a_new_VM()
    {
        using var guest = new TestGuest(EmitBootProcessor);
        var options = new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20, Cpus = 2 };
        byte[] state;
        byte[] memory;
        ulong[] atSave;
        using (Machine first = Machine.Build(options))
        {
            WriteTrampoline(first.Ram.Memory);
            using var run = new RunningMachine(first);
            WaitForProgress(first);
            Assert.True(first.TryQuiesce(Patience));
            atSave = Counters(first);
            state = StateWriter.Save(first.State);
            memory = MemoryOf(first.Ram.Memory).ToArray();
            Assert.Equal(atSave, Counters(first));
            first.Resume();
            WaitForProgress(first);             // a machine that was saved goes on as well
            first.End(MachineEnd.Quit);
            Assert.Equal(MachineEnd.Quit, run.WaitForEnd());
        }

        using Machine second = Machine.Build(options);
        memory.CopyTo(MemoryOf(second.Ram.Memory));
        StateReader.Load(state, "machine", second.State);
        Assert.Equal(atSave, Counters(second));
        using var again = new RunningMachine(second);
        WaitForProgress(second);
        Assert.True(Counters(second).Zip(atSave).All(static pair => pair.First > pair.Second));
        second.Ram.Memory.Write(new GuestAddress(BspData + 24), 1UL);
        Assert.Equal(MachineEnd.FromGuest(Code), again.WaitForEnd());
    }

    /// <summary>The guest halts until its deadline, which is a day away; in the state it is 0, as KVM tells of a timer whose interrupt
    /// is on its way.</summary>
    [KvmFact]
    public void A_deadline_of_zero_of_a_timer_that_is_on_fires()
    {
        const uint TscDeadline = 0x6e0, DeadlineMode = 0x4_0000;
        using var guest = new TestGuest(static code =>
        {
            Label handler = code.CreateLabel();
            code.WriteMsr(ApicBase, 0xfee0_0000 | 0xd00);
            code.WriteMsr(Spurious, 0x1ff);
            code.SetGate(0x40, handler);
            code.LoadIdt();
            code.WriteMsr(LvtTimer, DeadlineMode | 0x40);
            code.rdtsc();
            code.add(edx, 100_000);
            code.mov(ecx, TscDeadline);
            code.wrmsr();
            code.mov(rdi, BspData);
            code.inc(__qword_ptr[rdi]);
            code.sti();
            code.HaltForEver();

            code.Label(ref handler);
            code.Exit((sbyte)Code);
        });
        var options = new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20 };
        JsonNode state;
        byte[] memory;
        using (Machine first = Machine.Build(options))
        {
            if (first.Kvm.Check(Vmm.Kvm.Abi.KvmCapability.KVM_CAP_TSC_DEADLINE_TIMER) == 0)
            {
                return;
            }

            using var run = new RunningMachine(first);
            first.WaitForNumber(BspData, 1);
            while (!first.TryQuiesce(Patience))
            {
                // until its loop runs
            }

            state = JsonNode.Parse(StateWriter.Save(first.State))!;
            memory = MemoryOf(first.Ram.Memory).ToArray();
            first.End(MachineEnd.Quit);
            run.WaitForEnd();
        }

        JsonNode deadline = state["vm"]!["vcpus"]![0]!["msrs"]!.AsArray().First(static msr => (uint)msr!["index"]! == TscDeadline)!;
        Assert.NotEqual(0UL, (ulong)deadline["value"]!);
        deadline["value"] = 0UL;
        using Machine second = Machine.Build(options);
        memory.CopyTo(MemoryOf(second.Ram.Memory));
        StateReader.Load(System.Text.Encoding.UTF8.GetBytes(state.ToJsonString()), "machine", second.State);
        using var again = new RunningMachine(second);
        Assert.True(again.Task.Wait(Patience), "the guest waits for its timer");
        Assert.Equal(MachineEnd.FromGuest(Code), again.Task.Result);
    }

    [KvmFact]
    public void A_hostile_state_of_a_machine_is_refused_by_name_or_taken()
    {
        using var guest = new TestGuest(static code => code.hlt());
        var options = new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20, Cpus = 2, Rng = true };
        byte[] state;
        using (Machine machine = Machine.Build(options))
        {
            state = StateWriter.Save(machine.State);
        }

        int refused = 0;
        for (int seed = 0; seed < 40; seed++)
        {
            using Machine machine = Machine.Build(options);
            try
            {
                StateReader.Load(Devices.Tests.State.StateMutation.Mutate(state, new Random(seed)), "machine", machine.State);
            }
            catch (StateException error)
            {
                Assert.StartsWith("machine", error.Field, StringComparison.Ordinal);
                refused++;
            }
        }

        Assert.InRange(refused, 10, 40);
    }

    /// <summary>A guest that writes to its console, by exits and by posted writes: ten thousand times in a row it stands
    /// still, and not a character is lost.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Standing_still_ten_thousand_times_loses_nothing()
    {
        const int Rounds = 10_000;
        using var guest = new TestGuest(code =>
        {
            Label loop = code.CreateLabel(), full = code.CreateLabel(), think = code.CreateLabel(), last = code.CreateLabel();
            code.mov(rdi, BspData);
            code.Label(ref loop);
            code.mov(dx, 0x3fd);
            code.Label(ref full);
            code.@in(al, dx);
            code.test(al, 0x20);                // THRE
            code.jz(full);
            code.mov(rax, __[rdi]);
            code.and(eax, 1);
            code.imul(eax, eax, '\r');          // NUL, CR, NUL ...
            code.mov(dx, 0x3f8);
            code.@out(dx, al);
            code.inc(__qword_ptr[rdi]);
            code.mov(ecx, 500);
            code.Label(ref think);
            code.loop(think);
            code.cmp(__qword_ptr[rdi + 24], 0);
            code.je(loop);
            code.mov(dx, 0x3fd);
            code.Label(ref last);
            code.@in(al, dx);
            code.test(al, 0x20);
            code.jz(last);
            code.mov(al, Code);
            code.@out(ExitPort, al);
        });
        var tap = new Sequence();
        using Machine machine = Machine.Build(
            new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20, Cpus = 2 }, new RunObserver { Console = tap });
        using var run = new RunningMachine(machine);
        for (int round = 0; round < Rounds; round++)
        {
            Assert.True(machine.TryQuiesce(Patience));
            ulong count = machine.Ram.Memory.Read<ulong>(new GuestAddress(BspData));
            long heard = tap.Count;

            // A character is sent before it is counted, so they may be one ahead; the last may wait for the terminal.
            Assert.InRange(heard, (long)count - 1, (long)count + 1);
            if (round % 100 == 0)
            {
                StateWriter.Save(machine.State);
                Thread.Sleep(1);
                Assert.Equal(heard, tap.Count);
                Assert.Equal(count, machine.Ram.Memory.Read<ulong>(new GuestAddress(BspData)));
            }

            machine.Resume();
            if (round % 100 == 0)
            {
                // On a busy host the next round may begin before the guest has run at all.
                Assert.True(SpinWait.SpinUntil(() => tap.Count > heard, Patience), $"nothing came after {heard} characters");
            }
        }

        machine.Ram.Memory.Write(new GuestAddress(BspData + 24), 1UL);
        Assert.Equal(MachineEnd.FromGuest(Code), run.WaitForEnd());
        Assert.Equal(machine.Ram.Memory.Read<ulong>(new GuestAddress(BspData)), (ulong)tap.Count);
        Assert.Equal((0, 0), (tap.Wrong, machine.Console!.Port.OutputLost));
        Assert.True(tap.Count >= Rounds / 100, $"the guest wrote {tap.Count} characters only");
    }

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.SpinsWithInterruptsOff)]
    public void A_machine_that_ends_while_quiesced_ends()
    {
        using var guest = new TestGuest(static code =>
        {
            Label loop = code.CreateLabel();
            code.Label(ref loop);
            code.jmp(loop);
        });
        using Machine machine = Machine.Build(new MachineSpec { Kernel = guest.Path, Memory = 64UL << 20 });
        using var run = new RunningMachine(machine);
        SpinWait.SpinUntil(() => machine.FirstEntry != 0);
        while (!machine.TryQuiesce(Patience))
        {
            // until its loop runs
        }

        machine.End(MachineEnd.Quit);
        Assert.Equal(MachineEnd.Quit, run.WaitForEnd());
        Assert.False(machine.TryQuiesce(Patience));
    }

    private static void EmitBootProcessor(Assembler code)
    {
        Label loop = code.CreateLabel(), handler = code.CreateLabel();
        code.WriteMsr(ApicBase, 0xfee0_0000 | 0xd00);          // enabled, x2APIC, boot processor
        code.WriteMsr(Spurious, 0x1ff);
        code.SetGate(0x40, handler);
        code.LoadIdt();
        StartTimer(code, 0x40);
        code.WriteMsr(Icr, 0x4500, 1);                         // INIT to APIC id 1
        code.WriteMsr(Icr, 0x4600 | (uint)(Trampoline >> 12), 1);
        code.mov(rdi, BspData);
        code.sti();
        code.Label(ref loop);
        code.inc(__qword_ptr[rdi]);
        code.cmp(__qword_ptr[rdi + 24], 0);
        code.je(loop);
        code.mov(al, Code);
        code.@out(ExitPort, al);

        code.Label(ref handler);
        code.push(rax);
        code.push(rcx);
        code.push(rdx);
        code.mov(rax, BspData);
        code.inc(__qword_ptr[rax + 8]);
        code.WriteMsr(Eoi, 0);
        code.pop(rdx);
        code.pop(rcx);
        code.pop(rax);
        code.iretq();
    }

    private static void WriteTrampoline(GuestMemory memory)
    {
        memory.Write(new GuestAddress(Trampoline), Assemble(Trampoline, static code =>
        {
            Label loop = code.CreateLabel();
            code.cli();
            code.mov(ax, (ushort)(ApData >> 4));
            code.mov(ds, ax);
            code.mov(ss, ax);
            code.mov(sp, 0x8000);
            code.WriteMsr(ApicBase, 0xfee0_0000 | 0xc00);
            code.WriteMsr(Spurious, 0x1ff);
            StartTimer(code, 0x41);
            code.sti();
            code.Label(ref loop);
            code.inc(__dword_ptr[0]);
            code.jmp(loop);
        }));
        memory.Write(new GuestAddress(Handler), Assemble(Handler, static code =>
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
        }));
        memory.Write(new GuestAddress(0x41 * 4), (uint)(Handler >> 4) << 16);     // CS:IP in the real-mode vector table
    }

    private static byte[] Assemble(ulong address, Action<Assembler> emit)
    {
        var assembler = new Assembler(16);
        emit(assembler);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), address & 0xffff);
        return code.ToArray();
    }

    private static void StartTimer(Assembler code, uint vector)
    {
        code.WriteMsr(Divide, 0xb);                            // by 1
        code.WriteMsr(LvtTimer, 0x2_0000 | vector);            // periodic
        code.WriteMsr(InitialCount, TimerTicks);
    }

    private static ulong[] Counters(Machine machine)
    {
        GuestMemory memory = machine.Ram.Memory;
        return
        [
            memory.Read<ulong>(new GuestAddress(BspData)), memory.Read<ulong>(new GuestAddress(BspData + 8)),
            memory.Read<uint>(new GuestAddress(ApData)), memory.Read<uint>(new GuestAddress(ApData + 8)),
        ];
    }

    private static void WaitForProgress(Machine machine)
    {
        ulong[] before = Counters(machine);
        var limit = Stopwatch.StartNew();
        while (!Counters(machine).Zip(before).All(static pair => pair.First >= pair.Second + 3))
        {
            Assert.True(limit.Elapsed < Patience, $"{string.Join(' ', before)} became {string.Join(' ', Counters(machine))}");
            Thread.Sleep(1);
        }
    }

    private static unsafe Span<byte> MemoryOf(GuestMemory memory)
    {
        // SAFETY: the only region, mapped as long as the machine is.
        GuestRegion region = Assert.Single(memory.Regions.ToArray());
        return new Span<byte>((void*)region.Host, (int)region.Length);
    }

    /// <summary>Receives NUL and CR by turns.</summary>
    private sealed class Sequence : IConsoleTap
    {
        private long _count;

        public long Count => Volatile.Read(ref _count);

        public long Wrong { get; private set; }

        public void Sent(ReadOnlySpan<byte> bytes)
        {
            foreach (byte each in bytes)
            {
                Wrong += each == (_count % 2 == 0 ? 0 : '\r') ? 0 : 1;
                Volatile.Write(ref _count, _count + 1);
            }
        }
    }
}

/// <summary>A test that needs /dev/kvm and a processor with XSAVE. On the emulated AMD-V host, which has none, the guest was
/// not seen to go on after it was loaded; why is not known yet.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class KvmWithXsaveFactAttribute : FactAttribute
{
    public KvmWithXsaveFactAttribute() =>
        Skip = new KvmFactAttribute().Skip
            ?? (System.Runtime.Intrinsics.X86.Avx.IsSupported ? null : "open fault: a saved machine does not go on where there is no XSAVE");
}
