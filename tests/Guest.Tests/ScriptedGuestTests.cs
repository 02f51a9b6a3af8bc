using System.Globalization;
using Vmm.Boot;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Linux with four CPUs and four disks, booted once from the uncompressed kernel.</summary>
public sealed class ScriptedGuestTests(ScriptedGuest guest) : IClassFixture<ScriptedGuest>
{
    [KvmFact]
    public void The_exit_status_of_the_script_is_vmms()
    {
        Assert.True(guest.Ended.Code == ScriptedGuest.ExitCode, $"{guest.Ended.Code}:\n{guest.Ended.Output}{guest.Ended.Error}");
        Assert.DoesNotContain("vmm: ", guest.Ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void All_four_CPUs_are_there() => Assert.Equal($"{ScriptedGuest.Cpus}", Value("cpus"));

    [KvmFact]
    public void The_memory_is_what_was_given_less_what_the_kernel_keeps()
    {
        long kib = long.Parse(Value("memory"), CultureInfo.InvariantCulture);
        Assert.InRange(kib, 460 << 10, 512 << 10);
    }

    [KvmFact]
    public void What_the_user_gives_is_added_to_the_command_line()
    {
        string line = Value("cmdline");
        Assert.Contains($" {CommandLine.Default} ", line, StringComparison.Ordinal);      // behind the kernel's own
        Assert.EndsWith("quiet vmm.run=/dev/vdc seen=by-the-guest", line, StringComparison.Ordinal);
    }

    [KvmFact]
    public void Disks_come_in_the_order_given_and_have_their_sizes() =>
        Assert.Equal($"{(160 << 20) / 512}", Value("size"));

    [KvmFact]
    public void A_readonly_disk_refuses_writes()
    {
        Assert.Equal("1 flag=1", Value("readonly"));
        Assert.Equal(ScriptedGuest.ScriptDiskContent, File.ReadAllBytes(guest.ScriptDisk));
    }

    [KvmFact]
    public void Random_data_of_64_MiB_is_intact_on_the_host_after_a_clean_shutdown()
    {
        Assert.Equal(ScriptedGuest.ExitCode, guest.Ended.Code);
        HostTool.AssertClean(guest.Data);
        HostTool.AssertClean(guest.Root);
        AssertCopied("/random", ScriptedGuest.RandomBytes);
        AssertCopied("/buffered", ScriptedGuest.BufferedBytes);
    }

    [KvmTheory]
    [InlineData(@"^time     [0-9.]+ ms from exec to the first guest instruction, [0-9.]+ s in the guest$")]
    [InlineData(@"^exits    [0-9]+ to user space$")]
    [InlineData(@"^ +[0-9]+ IO$")]
    [InlineData(@"^ +[0-9]+ COM1$")]
    [InlineData(@"^assisted [0-9]+ instructions$")]
    [InlineData(@"^console  [0-9]+ bytes out, [0-9]+ bytes in$")]
    [InlineData(@"^memory   [0-9.]+ MiB resident in vmm, [0-9.]+ MiB of the guest's; [0-9.]+ MiB in all at most before the first instruction$")]
    public void Stats_are_printed(string line) => Assert.Matches("(?m)" + line, guest.Ended.Error);

    [KvmFact]
    public void On_pci_a_disk_request_costs_no_exit_at_all()
    {
        // Setting the devices up takes some 300 accesses each; then nothing, however many requests there are.
        const int SetUp = 500;
        long requests = long.Parse(Value("requests"), CultureInfo.InvariantCulture);
        Assert.True(requests > 1000, guest.Ended.Output);
        Assert.InRange(Figures.VirtioAccesses(guest.Ended.Error), 1, SetUp);
    }

    private void AssertCopied(string path, int bytes)
    {
        Assert.Equal(guest.RandomSum(bytes), HostTool.Sha256InImage(guest.Data, path, guest.Scratch));
        Assert.Equal(bytes, new FileInfo(guest.Scratch).Length);
    }

    private string Value(string name) => GuestScript.Value(guest.Ended.Output, name);
}
