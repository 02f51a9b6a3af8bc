using Iced.Intel;
using Vmm.Insight.Profile;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm;

/// <summary>Guests whose exits are known to the last one.</summary>
[Collection(Alone.Name)]
public sealed class ProfiledGuestTests
{
    private const byte ExitPort = 0xf4;
    private const ushort Scratch = 0x3ff;                   // COM1's SCR
    private const uint Unclaimed = 0xd200_0000;

    [KvmFact]
    public void Counts_are_exactly_what_the_guest_did_and_KVM_says_the_same()
    {
        using TestGuest guest = Known();
        ExitProfile profile = Run(guest, out long[] byReason);
        Assert.Equal(
            [
                ("COM1 SCR read 1", 200L), ("COM1 SCR write 1", 300), ("exit ExitCode write 1", 1),
                ("nobody 0xd2000000 read 4", 40), ("nobody 0xd2000000 write 2", 60), ("nobody port 0x1234 read 4", 20),
                ("post port 0x80 write 1", 100),
            ],
            profile.Lines.Where(line => line.Name.Reason != "INTR")
                .Select(line => (line.Name.ToString(), line.InVmm.Count)).Order());

        // The counters that --stats prints, reason by reason.
        foreach (ProfileGroup group in profile.ByReason.Where(group => group.Name != "INTR"))
        {
            var reason = Enum.Parse<global::Vmm.Kvm.Abi.KvmExitReason>("KVM_EXIT_" + group.Name);
            Assert.Equal(byReason[(int)reason], group.Exits);
        }

        Assert.Contains(profile.Comparisons, line => line is { Counter: "mmio_exits", Kvm: 100, Vmm: 100 });
        Assert.All(profile.Comparisons, line => Assert.True(line.Agrees, line.ToString()));
    }

    [KvmFact]
    public void All_of_a_vCPUs_time_is_in_the_profile()
    {
        using TestGuest guest = Known();
        ExitProfile profile = Run(guest, out _);
        Assert.InRange(profile.InKvm + profile.InVmm, 1, profile.Wall.Ticks * 100);
        Assert.All(profile.Lines, line => Assert.Equal(line.InVmm.Count, line.InKvm.Count));
    }

    [KvmFact]
    public void Without_an_observer_there_is_no_recorder()
    {
        using TestGuest guest = Known();
        using Machine machine = Machine.Build(Options(guest));
        machine.Run();
        Assert.All(machine.Vcpus, vcpu => Assert.IsType<VcpuThread<NoProbe>>(vcpu));
    }

    private static TestGuest Known() => new(code =>
    {
        Repeat(code, 100, () => code.@out(0x80, al));
        code.mov(dx, Scratch);
        Repeat(code, 300, () => code.@out(dx, al));
        Repeat(code, 200, () => code.@in(al, dx));
        code.mov(dx, 0x1234);
        Repeat(code, 20, () => code.@in(eax, dx));
        code.mov(edi, Unclaimed);
        Repeat(code, 40, () => code.mov(eax, __dword_ptr[rdi]));
        Repeat(code, 60, () => code.mov(__word_ptr[rdi], ax));
        code.mov(al, 0);
        code.@out(ExitPort, al);
    });

    private static void Repeat(Assembler code, int count, Action emit)
    {
        Label loop = code.CreateLabel();
        code.mov(ecx, count);
        code.Label(ref loop);
        emit();
        code.dec(ecx);
        code.jnz(loop);
    }

    private static ExitProfile Run(TestGuest guest, out long[] byReason)
    {
        using Machine machine = Machine.Build(Options(guest), new RunObserver());
        Assert.Equal(MachineEnd.FromGuest(0), machine.Run());
        byReason = machine.Vcpus[0].Exits.Counts.ToArray();
        return RunObserver.ProfileOf(machine);
    }

    private static MachineSpec Options(TestGuest guest) => new() { Kernel = guest.Path, Memory = 64UL << 20 };
}
