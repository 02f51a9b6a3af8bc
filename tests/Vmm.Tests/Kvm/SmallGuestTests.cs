using System.Diagnostics;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm;

/// <summary>Machines that run a few instructions, in this process.</summary>
[Collection(Alone.Name)]
public sealed partial class SmallGuestTests
{
    private const byte ExitPort = GuestCode.ExitPort;

    [KvmFact]
    public void Fw_cfg_tells_the_number_of_CPUs_and_the_command_line()
    {
        using var guest = new TestGuest(code =>
        {
            Label wrong = code.CreateLabel();
            Select(code, 0);
            code.mov(dx, 0x511);
            foreach (char letter in "QEMU")
            {
                code.@in(al, dx);
                code.cmp(al, (byte)letter);
                code.jne(wrong);
            }

            Select(code, 5);
            code.mov(dx, 0x511);
            code.@in(al, dx);
            code.cmp(al, 3);
            code.jne(wrong);

            // The last byte of the command line, which is as long as its other item says.
            Select(code, 0x14);
            code.mov(dx, 0x511);
            code.xor(ebx, ebx);
            code.@in(al, dx);
            code.mov(bl, al);
            code.@in(al, dx);
            code.mov(bh, al);
            code.lea(ecx, __[rbx - 1]);
            Select(code, 0x15);
            code.mov(dx, 0x511);
            code.mov(edi, 0x20_0000);
            code.rep.insb();
            code.cmp(__byte_ptr[rdi - 1], (byte)'!');
            code.jne(wrong);
            code.@in(al, dx);
            code.test(al, al);
            code.jne(wrong);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), Run(guest, Options(guest, cpus: 3) with { CommandLine = "x=!" }));

        static void Select(Assembler code, short item)
        {
            code.mov(dx, 0x510);
            code.mov(ax, item);
            code.@out(dx, ax);
        }
    }

    [KvmFact]
    public void An_access_to_PCI_configuration_is_one_exit()
    {
        const int Accesses = 100;
        using var guest = new TestGuest(code =>
        {
            Label loop = code.CreateLabel(), wrong = code.CreateLabel();
            code.mov(ecx, Accesses);
            code.Label(ref loop);
            code.mov(dx, 0xcf8);
            code.mov(eax, 0x8000_0000);     // the host bridge
            code.@out(dx, eax);
            code.mov(dx, 0xcfc);
            code.@in(eax, dx);
            code.mov(ebx, eax);
            code.mov(dx, 0xcf8);
            code.mov(eax, 0x8000_f800);     // nobody
            code.@out(dx, eax);
            code.mov(dx, 0xcfc);
            code.@in(eax, dx);
            code.cmp(eax, -1);
            code.jne(wrong);
            code.cmp(ebx, 0x0008_1b36);
            code.jne(wrong);
            code.loop(loop);
            code.ExitWithVerdict(ref wrong);
        });
        using Machine machine = Machine.Build(Options(guest));
        Assert.Equal(MachineEnd.FromGuest(0), machine.Run());

        // The address is an exit the first time, and again where the guest was held up for long; here it never is for all.
        Assert.InRange(machine.Vcpus[0].Exits.Counts[2], 2 * Accesses, (3 * Accesses) + 1);
        Assert.InRange(machine.PostedWrites, Accesses, 2 * Accesses);
    }

    /// <summary>Characters to the serial port that nobody asks LSR for, and then nothing at all.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.SpinsWithInterruptsOff)]
    public void The_output_of_a_guest_before_an_endless_loop_is_delivered()
    {
        const int Characters = 500;
        using var guest = new TestGuest(code =>
        {
            Label say = code.CreateLabel(), spin = code.CreateLabel();
            code.mov(ecx, Characters);
            code.mov(dx, 0x3f8);
            code.mov(al, (byte)'\r');
            code.Label(ref say);
            code.@out(dx, al);
            code.loop(say);
            code.Label(ref spin);
            code.jmp(spin);
        });
        using Machine machine = Machine.Build(Options(guest));
        using var run = new RunningMachine(machine);
        Assert.True(Eventually(() => machine.Console!.BytesOut == Characters), $"{machine.Console!.BytesOut} of {Characters}");
        machine.End(MachineEnd.Quit);
        Assert.Equal(MachineEnd.Quit, run.WaitForEnd());
        Assert.InRange(machine.PostedWrites, Characters / 2, Characters - 1);
    }

    [KvmFact(MemoryGib = 6)]
    public void All_memory_is_there_below_and_above_the_hole()
    {
        using var guest = new TestGuest(code =>
        {
            // Map the first 2 MiB above 4 GiB: a page directory in free memory, led to by entry 4 of the page directory
            // pointers, whose table CR3 leads to. (Not every host has pages of 1 GiB.)
            code.mov(rdi, 0x30_0000);
            code.mov(rax, 0x1_0000_0083);
            code.mov(__[rdi], rax);
            code.mov(rbx, cr3);
            code.mov(rbx, __[rbx]);
            code.and(rbx, -4096);
            code.lea(rax, __[rdi + 3]);
            code.mov(__[rbx + 32], rax);
            code.mov(rdi, 0x1_0000_1000);
            code.mov(rax, 0x1122334455667788);
            code.mov(__[rdi], rax);
            code.mov(rsi, 0xbfff_f000);
            code.mov(__[rsi], rdi);
            code.cmp(__[rdi], rax);
            code.setne(al);
            code.cmp(__[rsi], rdi);
            code.setne(ah);
            code.or(al, ah);
            code.@out(ExitPort, al);
        });
        Assert.Equal(MachineEnd.FromGuest(0), Run(guest, new MachineSpec { Kernel = guest.Path, Memory = 6UL << 30 }));
    }

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.SpinsWithInterruptsOff)]
    public void Pausing_stops_the_guest_and_resuming_lets_it_go_on()
    {
        using var guest = new TestGuest(code =>
        {
            Label loop = code.CreateLabel();
            code.mov(rdi, 0x20_0000);
            code.Label(ref loop);
            code.inc(__qword_ptr[rdi]);
            code.jmp(loop);
        });
        using Machine machine = Machine.Build(Options(guest));
        using var run = new RunningMachine(machine);
        for (int round = 0; round < 20; round++)
        {
            Assert.True(Eventually(() => Count() != Last(ref _lastCount, Count())), "the guest does not run");
            machine.Pause();
            ulong paused = Count();
            Thread.Sleep(5);
            Assert.Equal(paused, Count());
            machine.Resume();
        }

        machine.End(MachineEnd.Quit);
        Assert.Equal(MachineEnd.Quit, run.WaitForEnd());

        ulong Count() => machine.Ram.Memory.Read<ulong>(new(0x20_0000));
    }

    [KvmFact]
    [NotInBochs(NotInBochsAttribute.SpinsWithInterruptsOff)]
    public void A_guest_that_never_exits_can_be_stopped_at_any_moment()
    {
        using var guest = new TestGuest(code =>
        {
            Label loop = code.CreateLabel();
            code.Label(ref loop);
            code.jmp(loop);
        });
        for (int round = 0; round < 10; round++)
        {
            using Machine machine = Machine.Build(Options(guest, cpus: 2));
            using var run = new RunningMachine(machine);
            Thread.Sleep(round);
            machine.End(MachineEnd.Quit);
            Assert.Equal(MachineEnd.Quit, run.WaitForEnd());
        }
    }

    [KvmTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Exits_allocate_nothing(bool profiled)
    {
        const int Exits = 20_000;
        using var guest = new TestGuest(code =>
        {
            Label loop = code.CreateLabel();
            code.mov(ecx, Exits);
            code.Label(ref loop);
            code.@out(0x80, al);
            code.loop(loop);
            code.@out(ExitPort, al);
        });
        AllocatedBy(guest, profiled); // the first run also pays for what .NET makes once

        // Threads, a profile's tables and rows cost some; one object of the smallest size for each exit would be 480,000.
        Assert.InRange(AllocatedBy(guest, profiled), 0, Exits * 8);

        static long AllocatedBy(TestGuest guest, bool profiled)
        {
            using Machine machine = Machine.Build(Options(guest), profiled ? new RunObserver() : null);
            long before = GC.GetTotalAllocatedBytes(precise: true);
            machine.Run();
            long allocated = GC.GetTotalAllocatedBytes(precise: true) - before;
            Assert.True(machine.Vcpus[0].Exits.Counts[2] >= Exits);
            Assert.True(!profiled || machine.Observer!.Recorders[0].Exits >= Exits);
            return allocated;
        }
    }

    [KvmFact]
    public void Each_cpu_sees_itself_and_its_number()
    {
        using var guest = new TestGuest(code =>
        {
            code.mov(eax, 1);
            code.cpuid();
            code.shr(ebx, 16);          // BH: APIC id, BL: logical processors
            code.mov(al, bl);
            code.@out(ExitPort, al);
        });
        Assert.Equal(MachineEnd.FromGuest(4), Run(guest, Options(guest, cpus: 4)));
    }

    /// <summary>By KVM; where that is PVM's, which repeats a hypercall for ever, by vmm (StuckHypercall).</summary>
    [KvmFact]
    public void An_unknown_hypercall_is_answered_with_ENOSYS()
    {
        using var guest = new TestGuest(code =>
        {
            Label loop = code.CreateLabel(), wrong = code.CreateLabel();
            code.mov(r8d, 3);
            code.Label(ref loop);
            code.mov(eax, 0x7000_0000);
            code.vmcall();
            code.cmp(rax, -1000);           // KVM_ENOSYS of <linux/kvm_para.h>
            code.jne(wrong);
            code.dec(r8d);
            code.jnz(loop);
            code.ExitWithVerdict(ref wrong);
        });
        Assert.Equal(MachineEnd.FromGuest(0), Run(guest));
    }

    /// <summary>To the serial port, which always has room in time.</summary>
    private static void Say(Assembler code, string text)
    {
        code.mov(dx, 0x3f8);
        foreach (char letter in text)
        {
            code.mov(al, (byte)letter);
            code.@out(dx, al);
        }
    }

    private ulong _lastCount;

    private static ulong Last(ref ulong last, ulong now)
    {
        ulong before = last;
        last = now;
        return before;
    }

    private static bool Eventually(Func<bool> condition)
    {
        var limit = Stopwatch.StartNew();
        while (!condition())
        {
            if (limit.Elapsed > TimeSpan.FromSeconds(30))
            {
                return false;
            }

            Thread.Sleep(1);
        }

        return true;
    }

    private static MachineSpec Options(TestGuest guest, int cpus = 1) =>
        new() { Kernel = guest.Path, Memory = 64UL << 20, Cpus = cpus };

    private static MachineEnd Run(TestGuest guest, MachineSpec? options = null)
    {
        using Machine machine = Machine.Build(options ?? Options(guest));
        return machine.Run();
    }
}
