using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>What vmm exits with, and that it says why in one line.</summary>
public sealed class ExitCodeTests
{
    [KvmTheory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(64)]
    [InlineData(255)]
    public void The_guests_own_code_is_passed_on(byte code)
    {
        using var guest = new TestGuest(program => SmallGuests.Exit(program, code));
        Assert.Equal(new VmmProcess.Ended(code, "", ""), Run(guest));
    }

    [KvmFact]
    public void A_reboot_is_success()
    {
        using var guest = new TestGuest(SmallGuests.Reset);
        Assert.Equal(new VmmProcess.Ended(ExitCodes.Success, "", ""), Run(guest));
    }

    /// <summary>What a kernel without pvpanic's driver does: it says so and resets by the keyboard controller.</summary>
    [KvmFact]
    public void A_panic_is_reported_with_its_reason()
    {
        using var guest = new TestGuest(program =>
        {
            SmallGuests.Say(program, "# [    1.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n");
            SmallGuests.Reset(program);
        });
        VmmProcess.Ended ended = Run(guest);
        Assert.Equal(ExitCodes.GuestPanicked, ended.Code);
        OneLine.AssertIs("the guest's kernel panicked: Attempted to kill init! exitcode=0x00000100", ended.Error);
    }

    [KvmFact]
    public void A_program_that_prints_a_panic_and_reboots_in_good_order_is_no_panic()
    {
        using var guest = new TestGuest(program =>
        {
            SmallGuests.Say(program, "Kernel panic - not syncing: said a program\r\n[    3.000000] reboot: Restarting system\r\n");
            SmallGuests.Reset(program);
        });
        Assert.Equal((ExitCodes.Success, ""), (Run(guest).Code, Run(guest).Error));
    }

    [KvmFact]
    public void A_reboot_that_is_not_wanted_has_a_code_of_its_own()
    {
        using var guest = new TestGuest(SmallGuests.Reset);
        VmmProcess.Ended ended = VmmProcess.Run("--kernel", guest.Path, "--mem", "32M", "--on-reboot", "fail");
        Assert.Equal(ExitCodes.GuestRebooted, ended.Code);
        OneLine.AssertIs("the guest rebooted", ended.Error);
    }

    [KvmFact]
    public void With_stats_a_reboot_is_reported()
    {
        using var guest = new TestGuest(SmallGuests.Reset);
        VmmProcess.Ended ended = VmmProcess.Run("--kernel", guest.Path, "--mem", "32M", "--stats");
        Assert.Equal(ExitCodes.Success, ended.Code);
        Assert.EndsWith("vmm: the guest rebooted\n", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_triple_fault_is_a_crash_reported_in_one_line()
    {
        using var guest = new TestGuest(SmallGuests.Crash);
        VmmProcess.Ended ended = Run(guest);
        Assert.Equal(ExitCodes.GuestCrashed, ended.Code);
        OneLine.AssertIs("the guest crashed: triple fault", ended.Error);
    }

    [KvmTheory]
    [InlineData(Signals.SIGHUP, "SIGHUP")]
    [InlineData(Signals.SIGINT, "SIGINT")]
    [InlineData(Signals.SIGQUIT, "SIGQUIT")]
    [InlineData(Signals.SIGTERM, "SIGTERM")]
    public void A_signal_is_128_and_its_number(int signal, string name)
    {
        using TestGuest guest = SmallGuests.Endless();
        using VmmProcess vmm = VmmProcess.Start("--kernel", guest.Path, "--mem", "32M");
        vmm.Output.WaitFor(SmallGuests.Ready);
        vmm.Signal(signal);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(ExitCodes.SignalBase + signal, ended.Code);
        OneLine.AssertIs($"stopped by {name}", ended.Error);
    }

    [KvmFact]
    public void A_hang_up_that_was_ignored_at_the_start_as_nohup_does_stays_ignored()
    {
        using TestGuest guest = SmallGuests.Endless();
        using VmmProcess vmm = VmmProcess.StartInShell(
            "trap '' HUP; exec \"$@\"", "--kernel", guest.Path, "--mem", "32M");
        vmm.Output.WaitFor(SmallGuests.Ready);
        vmm.Signal(Signals.SIGHUP);
        vmm.Signal(Signals.SIGTERM);
        Assert.Equal(ExitCodes.SignalBase + Signals.SIGTERM, vmm.WaitForEnd().Code);
    }

    [Theory]
    [InlineData("--bogus")]
    [InlineData("bogus")]
    [InlineData("--cpus", "many")]
    [InlineData("--kernel")]
    [InlineData("check", "bogus")]
    public void A_command_line_that_cannot_be_read_is_a_usage_error(params string[] arguments)
    {
        VmmProcess.Ended ended = VmmProcess.Run(arguments);
        Assert.Equal(ExitCodes.Usage, ended.Code);
        Assert.Equal("", ended.Output);
        OneLine.AssertIs("", ended.Error);
    }

    [Fact]
    public void Without_dev_kvm_the_host_cannot()
    {
        // An empty /dev, seen by this vmm alone, hides a /dev/kvm that is there.
        using var guest = new TestGuest(SmallGuests.Reset);
        using VmmProcess vmm = Vmm.Tests.Shared.Kvm.IsThere
            ? VmmProcess.StartAmongMounts("mount -t tmpfs none /dev", "--kernel", guest.Path)
            : VmmProcess.Start("--kernel", guest.Path);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(ExitCodes.HostCannot, ended.Code);
        Assert.Equal("", ended.Output);
        OneLine.AssertIs("/dev/kvm: ", ended.Error);
    }

    [KvmFact]
    public void A_dev_kvm_that_is_something_else_means_that_the_host_cannot()
    {
        using var guest = new TestGuest(SmallGuests.Reset);
        using VmmProcess vmm = VmmProcess.StartAmongMounts(
            "mount --bind /dev/null /dev/kvm", "--kernel", guest.Path);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(ExitCodes.HostCannot, ended.Code);
        OneLine.AssertIs("", ended.Error);
    }

    private static VmmProcess.Ended Run(TestGuest guest) => VmmProcess.Run("--kernel", guest.Path, "--mem", "32M");
}
