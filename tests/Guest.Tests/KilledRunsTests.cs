using System.Text.RegularExpressions;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Nothing is left of runs side by side of which some are killed, at any moment of their life.</summary>
public sealed class KilledRunsTests
{
    /// <summary>The script lists processes, files of temporary directories, mounts, network name spaces and devices, sockets and locks in
    /// name spaces of its own.</summary>
    [KvmFact]
    public void Killed_by_SIGKILL_in_rounds_of_eight_nothing_is_left()
    {
        using TestGuest guest = SmallGuests.Idle();
        (int code, string said) = HostTool.Run(
            "env",
            [
                "--default-signal=INT,QUIT,TERM", .. HasShares ? (string[])["WITH_SHARE=1"] : [],
                .. HasProgram("passt") ? (string[])["WITH_NET=1"] : [],
                Path.Combine(SourceTree.Root, "scripts/kill-rounds"), Product.Vmm, guest.Path, Rounds,
            ]);
        Assert.True(code == 0, said);
        Match told = Regex.Match(said, "^(?<rounds>[0-9]+) rounds of eight: (?<killed>[0-9]+) vmm killed", RegexOptions.ExplicitCapture);
        Assert.True(told.Success, said);
        Assert.NotEqual("0", told.Groups["killed"].Value);
    }

    /// <summary>In the middle of a fork, a snapshot or a rewind, too: the others go on.</summary>
    [KvmFact]
    public void Of_a_machine_and_its_forks_one_is_killed_and_the_others_go_on()
    {
        using TestGuest guest = SmallGuests.Idle();
        (int code, string said) = HostTool.Run(
            "env",
            [
                "--default-signal=INT,QUIT,TERM", .. HasProgram("passt") ? (string[])["WITH_NET=1"] : [],
                Path.Combine(SourceTree.Root, "scripts/kill-forks"), Product.Vmm, guest.Path, ForkRounds,
            ]);
        Assert.True(code == 0, said);
        Assert.Matches("(?m)^[0-9]+ rounds of a machine and three forks: [1-9][0-9]* processes killed", said);
    }

    private static string ForkRounds => IsEmulated ? "3" : "20";

    // An emulated host needs seconds for each.
    private static string Rounds => IsEmulated ? "2" : "50";

    private static bool IsEmulated => Environment.GetEnvironmentVariable("VMM_KVM_EMULATED") is { Length: > 0 };

    private static bool HasShares => HasProgram("virtiofsd") || File.Exists("/usr/lib/qemu/virtiofsd") || File.Exists("/usr/libexec/virtiofsd");

    private static bool HasProgram(string name) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(
        directory => File.Exists(Path.Combine(directory, name)));
}
