using Vmm.Host;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Kvm;

/// <summary>What <c>vmm check</c> finds out.</summary>
public sealed class HostDoctorTests
{
    [Fact]
    public void Without_KVM_it_says_what_is_wrong_and_what_to_do_and_goes_on_with_the_tools()
    {
        IReadOnlyList<Finding> findings = HostDoctor.Examine(
            static () => throw new HostException("/dev/kvm: permission denied", "join group kvm: and log in again"), path: "");
        Assert.Equal(new Finding(Severity.Broken, "/dev/kvm", "permission denied", "join group kvm: and log in again"), findings[0]);
        Assert.Equal(["virtiofsd", "passt", "qemu-img", "mke2fs", "qemu-system-x86_64"], findings.Skip(1).Select(static each => each.Subject));
    }

    [Fact]
    public void Tools_are_found_where_PATH_says_and_a_missing_one_is_a_lack_with_its_package()
    {
        string folder = Directory.CreateTempSubdirectory("vmm-doctor-").FullName;
        File.WriteAllText(Path.Combine(folder, "passt"), "");
        IReadOnlyList<Finding> findings = HostDoctor.Examine(static () => throw new HostException("no"), $"/nowhere:{folder}");
        Assert.Contains(new Finding(Severity.Good, "passt", Path.Combine(folder, "passt")), findings);
        Finding qemu = findings.Single(static each => each.Subject == "qemu-system-x86_64");
        Assert.Equal((Severity.Lack, "on Debian or Ubuntu: apt-get install qemu-system-x86"), (qemu.Severity, qemu.Remedy));
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void What_no_machine_can_do_without_is_broken_and_the_rest_a_lack()
    {
        Assert.Equal(
            new Finding(Severity.Broken, "IRQFD", "missing: interrupts", "a newer kernel on this host has it"),
            HostDoctor.DescribeCapability(KvmCapability.KVM_CAP_IRQFD, isThere: false, needed: true, "interrupts"));
        Assert.Equal(
            Severity.Lack, HostDoctor.DescribeCapability(KvmCapability.KVM_CAP_XSAVE2, isThere: false, needed: false, "").Severity);
        Assert.Equal(
            new Finding(Severity.Good, "XSAVE2", "state"),
            HostDoctor.DescribeCapability(KvmCapability.KVM_CAP_XSAVE2, isThere: true, needed: false, "state"));
        Assert.Equal(Severity.Lack, HostDoctor.DescribeKind(HostKind.Pvm).Severity);
        Assert.Equal(Severity.Good, HostDoctor.DescribeKind(HostKind.AmdV).Severity);
    }

    [Theory]
    [InlineData(false, "FAIL  subject                       state\n                                    remedy")]
    [InlineData(true, "\e[31mFAIL\e[0m  subject                       state\n                                    remedy")]
    public void A_finding_is_two_lines_with_its_remedy(bool colour, string expected) =>
        Assert.Equal(expected, new Finding(Severity.Broken, "subject", "state", "remedy").Format(colour));

    [KvmFact]
    public void A_host_that_runs_machines_has_all_that_they_need() =>
        Assert.DoesNotContain(HostDoctor.Examine(), static each => each.Severity == Severity.Broken);
}
