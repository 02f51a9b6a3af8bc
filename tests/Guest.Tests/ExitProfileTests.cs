using System.Text.Json;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Guest.Tests;

/// <summary><c>vmm exits</c>, <c>--profile</c> and <c>--trace</c>, with guests of a few instructions.</summary>
public sealed class ExitProfileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly TestGuest _guest = new(code =>
    {
        code.@out(0x80, al);
        SmallGuests.Exit(code, 7);
    });

    public void Dispose()
    {
        _guest.Dispose();
        _folder.Dispose();
    }

    [KvmFact]
    public void The_table_comes_last_on_standard_error()
    {
        VmmProcess.Ended ended = VmmProcess.Run("exits", "--kernel", _guest.Path, "--mem", "32M");
        Assert.Equal(7, ended.Code);
        Assert.Empty(ended.Output);
        Assert.Matches(@"(?m)^[0-9,]+ exits of 1 vCPU in .* in KVM_RUN \(guest and kernel\), .* in vmm \([0-9.]+ %\)$", ended.Error);
        Assert.Matches(@"(?m)^ +1 +IO +post +port 0x80 +write 1 ", ended.Error);
        Assert.Matches(@"(?m)^ +1 +IO +exit +ExitCode +write 1 ", ended.Error);
        Assert.DoesNotContain("DIFFERS", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void Files_have_the_form_that_their_name_says()
    {
        VmmProcess.Run("exits", "--kernel", _guest.Path, "--output", _folder["a.json"]);
        VmmProcess.Run("--profile=" + _folder["b.folded"], "--kernel", _guest.Path);
        VmmProcess.Run("exits", "--format", "table", "--output", _folder["c.json"], "--kernel", _guest.Path);
        using var document = JsonDocument.Parse(File.ReadAllText(_folder["a.json"]));
        Assert.Equal(
            document.RootElement.GetProperty("exits").GetInt64(),
            document.RootElement.GetProperty("lines").EnumerateArray().Sum(line => line.GetProperty("exits").GetInt64()));
        Assert.Matches(@"(?m)^KVM_RUN;IO;exit;ExitCode;write 1 [0-9]+$", File.ReadAllText(_folder["b.folded"]));
        Assert.Contains("exits of 1 vCPU", File.ReadAllText(_folder["c.json"]), StringComparison.Ordinal);
    }

    [KvmFact]
    public void Profile_without_a_file_goes_to_standard_error()
    {
        VmmProcess.Ended ended = VmmProcess.Run("--profile", "--kernel", _guest.Path);
        Assert.Contains("exits of 1 vCPU", ended.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("exits", "--output", "/", "--output /: is a directory")]
    [InlineData("exits", "--output", "/no/such/folder/x", "--output /no/such/folder/x: ")]
    [InlineData("exits", "--format", "xml", "--format xml: no such format; there are table, json and folded")]
    [InlineData("exits", "--trace", "/", "--trace /: is a directory")]
    [InlineData("boot-timeline", "--html", "/", "--html /: is a directory")]
    [InlineData("boot-timeline", "--json", "/no/such/folder/x", "--json /no/such/folder/x: ")]
    [InlineData("boot-timeline", "--until", "", "--until: give init, shell, or a text")]
    public void A_file_that_cannot_be_written_is_reported_before_anything_starts(string command, string option, string value, string error)
    {
        VmmProcess.Ended ended = VmmProcess.Run(command, "--kernel", _guest.Path, option, value);
        Assert.Equal(ExitCodes.Usage, ended.Code);
        OneLine.AssertIs(error, ended.Error);
    }

    [KvmTheory]
    [InlineData("--trace", "exits")]
    [InlineData("--output", "exits")]
    [InlineData("--json", "boot-timeline")]
    [InlineData("--html", "boot-timeline")]
    public void A_full_disk_is_reported_together_with_the_machines_end(string option, string command)
    {
        VmmProcess.Ended ended = VmmProcess.Run(command, "--kernel", _guest.Path, option, "/dev/full", "--stats");
        Assert.Equal(ExitCodes.HostCannot, ended.Code);
        Assert.Contains($"vmm: {option} /dev/full: No space left on device: it is not complete\n", ended.Error, StringComparison.Ordinal);
        Assert.Matches(@"(?m)^exits +[0-9]+ to user space$", ended.Error);
    }

    [KvmFact]
    public void A_trace_is_whole_after_a_signal()
    {
        using TestGuest endless = SmallGuests.Endless();
        using VmmProcess vmm = VmmProcess.Start("--kernel", endless.Path, "--trace", _folder["trace.json"]);
        vmm.Output.WaitFor(SmallGuests.Ready);
        vmm.Signal(Signals.SIGTERM);
        Assert.Equal(ExitCodes.SignalBase + Signals.SIGTERM, vmm.WaitForEnd().Code);
        AssertTrace();
    }

    [KvmFact]
    public void A_trace_is_whole_after_control_A_x()
    {
        using TestGuest endless = SmallGuests.Endless();
        using var terminal = new VmmTerminal("--kernel", endless.Path, "--trace", _folder["trace.json"]);
        terminal.Screen.WaitFor("ready");
        terminal.Type(VmmTerminal.ControlA + "x");
        Assert.Equal(0, terminal.WaitForEnd());
        AssertTrace();
    }

    [KvmFact]
    public void A_timeline_can_end_where_the_guest_says_something()
    {
        using TestGuest endless = SmallGuests.Endless();
        VmmProcess.Ended ended = VmmProcess.Run(
            "boot-timeline", "--kernel", endless.Path, "--until", "ready", "--html", _folder["a.html"], "--json", _folder["a.json"]);
        Assert.Equal(0, ended.Code);
        Assert.StartsWith("ready", ended.Output, StringComparison.Ordinal);
        Assert.Contains("vmm: stopped: 'ready' is reached", ended.Error, StringComparison.Ordinal);
        Assert.Matches(@"(?m)^create VM ", ended.Error);
        Assert.Matches(@"(?m)^first exit ", ended.Error);
        Assert.EndsWith("</html>\n", File.ReadAllText(_folder["a.html"]), StringComparison.Ordinal);
        VmmProcess.Ended compared = VmmProcess.Run("boot-timeline", "--compare", _folder["a.json"], _folder["a.json"]);
        Assert.Equal(0, compared.Code);
        Assert.Matches(@"(?m)^  all +guest .* 1\.00$", compared.Output);
    }

    [KvmFact]
    public void A_timeline_whose_end_never_comes_says_so()
    {
        VmmProcess.Ended ended = VmmProcess.Run("boot-timeline", "--kernel", _guest.Path, "--until", "init");
        Assert.Equal(7, ended.Code);
        Assert.Contains("vmm: the machine ended before 'init' came\n", ended.Error, StringComparison.Ordinal);
    }

    private void AssertTrace()
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(_folder["trace.json"]));
        string?[] names =
        [
            .. document.RootElement.GetProperty("traceEvents").EnumerateArray()
                .Select(traced => traced.GetProperty("name").GetString()),
        ];
        Assert.Contains("COM1 THR write 1", names);
        Assert.Contains("KVM_RUN", names);
    }
}
