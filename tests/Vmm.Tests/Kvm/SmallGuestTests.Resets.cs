using System.Diagnostics;
using Iced.Intel;
using Vmm.Assist;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm;

public sealed partial class SmallGuestTests
{
    [KvmFact]
    public void The_exit_port_ends_the_machine_with_the_guests_code()
    {
        using var guest = new TestGuest(code =>
        {
            code.mov(al, 42);
            code.@out(ExitPort, al);
            code.ud2();
        });
        Assert.Equal(MachineEnd.FromGuest(42), Run(guest));
    }

    [KvmFact]
    public void The_keyboard_controller_resets_the_machine()
    {
        using var guest = new TestGuest(code =>
        {
            code.mov(al, 0xfe);
            code.@out(0x64, al);
            code.ud2();
        });
        Assert.Equal(MachineEnd.Reset, Run(guest));
    }

    /// <summary>By the keyboard controller, PS/2's fast reset, and the reset register.</summary>
    [KvmTheory]
    [InlineData(RebootAction.End, ExitCodes.Success)]
    [InlineData(RebootAction.Restart, ExitCodes.Success)]
    [InlineData(RebootAction.Fail, ExitCodes.GuestRebooted)]
    public void Port_92_resets_the_machine_and_the_user_says_what_that_means(object action, int code)
    {
        using var guest = new TestGuest(assembler =>
        {
            assembler.@in(al, 0x92);
            assembler.or(al, 1);
            assembler.@out(0x92, al);
            assembler.ud2();
        });
        MachineEnd end = Run(guest, Options(guest) with { OnReboot = (RebootAction)action });
        Assert.Equal((MachineEndKind.Reset, code), (end.Kind, end.ExitCode));
    }

    /// <summary>As Linux does it: the console first, then the port, and with panic=0 nothing more.</summary>
    [KvmTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_panic_reported_by_pvpanic_ends_the_machine_with_the_reason(bool resets)
    {
        using var guest = new TestGuest(code =>
        {
            Label loop = code.CreateLabel(), wrong = code.CreateLabel();
            Say(code, "[    1.000000] Kernel panic - not syncing: test\r\n");
            code.mov(dx, 0x505);
            code.@in(al, dx);
            code.cmp(al, 7);
            code.jne(wrong);
            code.mov(al, 1);
            code.@out(dx, al);
            if (resets)
            {
                code.mov(al, 0xfe);
                code.@out(0x64, al);
            }

            code.Label(ref loop);
            code.hlt();
            code.jmp(loop);
            code.Label(ref wrong);
            code.ud2();
        });
        Assert.Equal(MachineEnd.Panicked("test"), Run(guest));
    }

    /// <summary>The reset register lies among the ports whose writes KVM may keep back.</summary>
    [KvmTheory]
    [InlineData(false)]
    [InlineData(true)]
    [NotInBochs(NotInBochsAttribute.SpinsWithInterruptsOff)]
    public void Port_cf9_resets_the_machine_even_in_the_middle_of_PCI(bool busyWithPci)
    {
        using var guest = new TestGuest(code =>
        {
            Label loop = code.CreateLabel();
            if (busyWithPci)
            {
                code.mov(dx, 0xcf8);
                code.mov(eax, 0x8000_0000);
                code.@out(dx, eax);
                code.@out(dx, eax);
            }

            code.mov(dx, 0xcf9);
            code.mov(al, 6);
            code.@out(dx, al);
            code.Label(ref loop);
            code.jmp(loop);
        });
        Assert.Equal(MachineEnd.Reset, Run(guest));
    }

    [KvmFact]
    public void A_triple_fault_is_a_crash_that_says_where()
    {
        using var guest = new TestGuest(code => code.ud2());
        MachineEnd end = Run(guest);
        Assert.Equal(ExitCodes.GuestCrashed, end.ExitCode);
        Assert.Contains("triple fault", end.Message, StringComparison.Ordinal);
        Assert.Contains("RIP 0x", end.Message, StringComparison.Ordinal);
    }
}
