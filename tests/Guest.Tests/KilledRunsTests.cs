using System.Text.RegularExpressions;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Several runs at a time, some of which are killed at a random moment: nothing of them is left.</summary>
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

    // An emulated host needs seconds for each.
    private static string Rounds => Environment.GetEnvironmentVariable("VMM_KVM_EMULATED") is { Length: > 0 } ? "2" : "50";

    private static bool HasShares => HasProgram("virtiofsd") || File.Exists("/usr/lib/qemu/virtiofsd") || File.Exists("/usr/libexec/virtiofsd");

    private static bool HasProgram(string name) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(
        directory => File.Exists(Path.Combine(directory, name)));
}
