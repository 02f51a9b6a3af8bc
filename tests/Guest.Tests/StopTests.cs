using System.Diagnostics;
using System.Text;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Signals that ask for an end, and what resource limits send.</summary>
public sealed class StopTests
{
    private const int Code = 7;
    private const string Pressed = "pressed the guest's power button";

    [KvmFact]
    public void Two_SIGTERMs_at_once_are_one_request()
    {
        // As timeout(1) sends them. The guest listens to its power button, and takes its time.
        using TestGuest guest = SmallGuests.OnKeyWithPowerButton(code => SmallGuests.Exit(code, Code));
        using VmmProcess vmm = Start(guest);
        vmm.Signal(Signals.SIGTERM);
        vmm.Signal(Signals.SIGTERM);
        Thread.Sleep(200);
        vmm.Signal(Signals.SIGTERM);
        Thread.Sleep(200);
        vmm.Type("k");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == Code, $"{ended}");
        OneLine.AssertIs(Pressed, ended.Error);
        Assert.Contains("90 s (--stop-timeout)", ended.Error, StringComparison.Ordinal);
    }

    /// <summary>Signals that come while vmm takes away what its machine had, and writes down how it ended, do not end it there.</summary>
    [KvmFact]
    public void A_signal_that_comes_again_and_again_leaves_nothing_behind()
    {
        using var folder = new TemporaryFolder();
        using TestGuest guest = SmallGuests.Endless();
        using (VmmProcess vmm = Start(guest, "--control", folder["control"], "--vsock", folder["vsock"]))
        {
            while (vmm.IsRunning)
            {
                vmm.Signal(Signals.SIGTERM);
                Thread.Sleep(1);
            }

            VmmProcess.Ended ended = vmm.WaitForEnd();
            Assert.True(ended is { Code: ExitCodes.SignalBase + Signals.SIGTERM, Error: "vmm: stopped by SIGTERM\n" }, $"{ended}");
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));

        const string Background = """
            export VMM_STATE_DIR=$2 VMM_RUNTIME_DIR=$2/run
            unset VMM_KVM_EMULATED      # the host lives as long as this test
            "$1" --detach --name storm --kernel "$3" --mem 32M
            pid=$(sed -n 's/^ *"pid": *\([0-9]*\).*/\1/p' "$2/machines/storm/machine.json")
            while kill "$pid" 2>/dev/null; do sleep 0.001; done
            "$1" wait storm
            "$1" rm storm
            ls "$2/run"
            """;
        using VmmProcess shell = VmmProcess.StartInShell(Background, folder.Path, guest.Path);
        Assert.Equal("storm\n143\nstorm\n", shell.WaitForEnd().Output);
    }

    /// <summary>As for a job that is cancelled while its root is packed, here by a mke2fs that never ends.</summary>
    [Fact]
    public void A_signal_before_there_is_a_machine_leaves_nothing_behind()
    {
        using var folder = new TemporaryFolder();
        const UnixFileMode Own = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        foreach (string name in (string[])["root", "bin", "sockets"])
        {
            Directory.CreateDirectory(folder[name], Own);
        }

        folder.Write("bin/mke2fs", Encoding.ASCII.GetBytes($"#!/bin/sh\necho $$ >{folder["pid.new"]}; mv {folder["pid.new"]} {folder["pid"]}\nexec sleep 10000\n"));
        File.SetUnixFileMode(folder["bin/mke2fs"], Own);
        using VmmProcess vmm = VmmProcess.StartInShell(
            $"unset VMM_KVM_EMULATED; export PATH={folder["bin"]}:$PATH VMM_STATE_DIR={folder["sockets"]} VMM_RUNTIME_DIR={folder["sockets"]}; exec \"$@\"",
            "run", "--name", "early", "--kernel", Product.BzImage, "--root", folder["root"], "--pack", "--vsock", folder["sockets/vsock"],
            "--result", folder["result"], "--", "true");
        var clock = Stopwatch.StartNew();
        while (!File.Exists(folder["pid"]) && vmm.IsRunning && clock.Elapsed < Product.Patience)
        {
            Thread.Sleep(10);
        }

        if (vmm.IsRunning)
        {
            vmm.Signal(Signals.SIGTERM);
        }

        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == ExitCodes.SignalBase + Signals.SIGTERM, $"{ended}");
        Assert.EndsWith("\nvmm: stopped by SIGTERM\n", ended.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists($"/proc/{File.ReadAllText(folder["pid"]).TrimEnd()}"));
        Assert.Contains("\"verdict\": \"stopped\"", File.ReadAllText(folder["result"]), StringComparison.Ordinal);
        Assert.Equal([folder["sockets/machines"]], Directory.EnumerateFileSystemEntries(folder["sockets"], "*", SearchOption.AllDirectories));
    }

    [KvmFact]
    public void A_SIGTERM_later_ends_a_guest_that_takes_its_time()
    {
        using TestGuest guest = SmallGuests.OnKeyWithPowerButton(code => SmallGuests.Exit(code, Code));
        using VmmProcess vmm = Start(guest, "--stop-timeout", "0");
        vmm.Signal(Signals.SIGTERM);
        vmm.Error.WaitFor(Pressed);
        Thread.Sleep(1500);
        vmm.Signal(Signals.SIGTERM);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == ExitCodes.SignalBase + Signals.SIGTERM, $"{ended}");
        Assert.EndsWith("vmm: stopped by SIGTERM\n", ended.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("--stop-timeout", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_guest_that_does_not_shut_down_is_ended_after_the_stop_timeout()
    {
        using TestGuest guest = SmallGuests.OnKeyWithPowerButton(code => SmallGuests.Exit(code, Code));
        using VmmProcess vmm = Start(guest, "--stop-timeout", "0.5");
        vmm.Signal(Signals.SIGTERM);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == ExitCodes.StopTimedOut, $"{ended}");
        Assert.EndsWith(
            "vmm: the guest did not end within 0.5 s (--stop-timeout) after its power button was pressed\n",
            ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void The_limit_of_CPU_time_presses_the_power_button()
    {
        using TestGuest guest = SmallGuests.OnKeyWithPowerButton(code => SmallGuests.Exit(code, Code));
        using VmmProcess vmm = Start(guest);
        vmm.Signal(Signals.SIGXCPU);
        vmm.Error.WaitFor(Pressed);
        Thread.Sleep(1200);
        vmm.Signal(Signals.SIGXCPU);        // the kernel repeats it with every second
        Thread.Sleep(200);
        vmm.Type("k");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == Code, $"{ended}");
        OneLine.AssertIs(Pressed, ended.Error);
    }

    [KvmFact]
    public void A_file_size_limit_ends_vmm_with_one_line()
    {
        using var folder = new TemporaryFolder();
        using TestGuest guest = SmallGuests.Chatter();
        // A vmm that is not compiled ahead has pages of code in a file, which the limit would hit, too.
        using VmmProcess vmm = VmmProcess.StartInShell(
            $"export DOTNET_EnableWriteXorExecute=0; ulimit -f 8; exec \"$@\" >{folder["console"]}", "--kernel", guest.Path, "--mem", "32M");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == ExitCodes.HostCannot, $"{ended}");
        OneLine.AssertIs("standard output", ended.Error);
    }

    [KvmFact]
    public void A_file_size_limit_fails_a_snapshot_and_leaves_nothing_of_it()
    {
        using var folder = new TemporaryFolder();
        using TestGuest guest = SmallGuests.Endless();
        using VmmProcess vmm = VmmProcess.StartInShell(
            "export DOTNET_EnableWriteXorExecute=0; ulimit -f 8; exec \"$@\"", "--kernel", guest.Path, "--mem", "32M", "--control", folder["control"]);
        vmm.Output.WaitFor(SmallGuests.Ready);
        foreach (string[] way in (string[][])[[], ["--live"]])
        {
            using VmmProcess snapshot = VmmProcess.Start(["snapshot", .. way, folder["control"], folder["saved"]]);
            VmmProcess.Ended ended = snapshot.WaitForEnd();
            Assert.True(ended.Code == ExitCodes.HostCannot, $"{ended}");
            OneLine.AssertIs("saved: is larger than the file size limit (ulimit -f)", ended.Error);
        }

        Assert.Equal([folder["control"]], Directory.EnumerateFileSystemEntries(folder.Path));
        vmm.Signal(Signals.SIGINT);
        Assert.Equal(ExitCodes.SignalBase + Signals.SIGINT, vmm.WaitForEnd().Code);
    }

    [KvmFact]
    public void SIGTERM_ends_vmm_after_its_guest_where_the_rest_of_the_output_is_not_read()
    {
        // 16 KB into a pipe of 4: the guest has ended, and vmm waits for a reader.
        const int Count = 1000;
        using TestGuest guest = SmallGuests.Countdown(Count, exitCode: Code);
        using VmmProcess vmm = VmmProcess.StartUnread(4096, "--kernel", guest.Path, "--mem", "32M");
        Thread.Sleep(2000);
        vmm.Signal(Signals.SIGTERM);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == ExitCodes.SignalBase + Signals.SIGTERM, $"{ended.Code} {ended.Error}");
        OneLine.AssertIs("stopped by SIGTERM", ended.Error);
    }

    [Fact]
    public void The_last_messages_wait_for_a_standard_error_that_does_not_block() =>
        AssertLastWords("vmm: kernel /nonexistent: ", "--kernel", "/nonexistent");

    [KvmFact]
    public void The_last_messages_of_a_run_do_too()
    {
        using var guest = new TestGuest(SmallGuests.Crash);
        AssertLastWords("vmm: the guest crashed: ", "--kernel", guest.Path, "--mem", "32M");
    }

    private static void AssertLastWords(string words, params string[] arguments)
    {
        // dd leaves the pipe non-blocking, as its flags belong to all who have it, and full.
        const string Script = "{ dd if=/dev/zero bs=4096 count=1000 oflag=nonblock >&2 2>/dev/null; \"$@\"; } "
            + "2>&1 >/dev/null | { sleep 2; tr -d '\\0'; }";
        using VmmProcess vmm = VmmProcess.StartInShell(Script, arguments);
        Assert.StartsWith(words, vmm.WaitForEnd().Output, StringComparison.Ordinal);
    }

    private static VmmProcess Start(TestGuest guest, params IEnumerable<string> options)
    {
        VmmProcess vmm = VmmProcess.Start(["--kernel", guest.Path, "--mem", "32M", .. options]);
        vmm.Output.WaitFor(SmallGuests.Ready);
        return vmm;
    }
}
