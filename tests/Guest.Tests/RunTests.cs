using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Vmm.Guest.Tests.Harness;
using Vmm.Insight.Timeline;
using Vmm.Kvm;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary><c>vmm run</c>: commands in machines of their own.</summary>
public sealed class RunTests
{
    private static string[] Run(params ReadOnlySpan<string> rest) => ["run", "--kernel", Product.Vmlinux, "-m", "64M", "--root", "none", .. rest];

    [KvmFact]
    public void Streams_are_exact_and_apart_and_the_exit_code_is_the_commands()
    {
        byte[] input = new byte[512 << 10];
        new Random(5).NextBytes(input);
        using var folder = new TemporaryFolder();
        using var vmm = VmmProcess.Start(Run(
            "--result", folder["result"], $"--profile={folder["exits.json"]}", "--trace", folder["trace"], "--hostname", "here", "--env", "A=b c", "--workdir", "/tmp", "--",
            "sh", "-c", "echo $A $(hostname) $(pwd) $(id -u) $(date +%Y) >&2; tee /dev/stderr; exit 42"));
        vmm.Type(Encoding.Latin1.GetString(input));
        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(42, ended.Code);
        byte[] output = Encoding.Latin1.GetBytes(ended.Output);
        Assert.Equal(SHA256.HashData(input), SHA256.HashData(output));
        int line = ended.Error.IndexOf('\n', StringComparison.Ordinal);
        Assert.Equal(string.Create(CultureInfo.InvariantCulture, $"b c here /tmp 0 {DateTime.UtcNow.Year}"), ended.Error[..line]);
        Assert.Equal(SHA256.HashData(input), SHA256.HashData(Encoding.Latin1.GetBytes(ended.Error[(line + 1)..])));
        using JsonDocument result = JsonDocument.Parse(File.ReadAllText(folder["result"]));
        Assert.Equal(("failed", 0), (
            result.RootElement.GetProperty("verdict").GetString(), result.RootElement.GetProperty("complaints").GetArrayLength()));
        using JsonDocument exits = JsonDocument.Parse(File.ReadAllText(folder["exits.json"]));
        Assert.Contains(
            exits.RootElement.GetProperty("lines").EnumerateArray(),
            static line => line.GetProperty("device").GetString() == "virtio-vsock0" && line.GetProperty("exits").GetInt64() > 0);
        Assert.Contains("\"vCPU 0\"", File.ReadAllText(folder["trace"]), StringComparison.Ordinal);
    }

    /// <summary>40 s in the emulated host. On a PVM host each MiB takes Linux two seconds, so there it is less; 100 MiB were done by
    /// hand (docs/performance.md).</summary>
    [KvmFact]
    public void A_hundred_MiB_go_in_and_out_exact_with_standard_error_apart()
    {
        byte[] input = new byte[HostKinds.Detect() == HostKind.Pvm ? 2 << 20 : 100 << 20];
        new Random(6).NextBytes(input);
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["in"], input);
        using var vmm = VmmProcess.StartInShell(
            $"exec \"$@\" <{folder["in"]} >{folder["out"]}", Run("--", "sh", "-c", "echo before >&2; dd bs=64k 2>/dev/null; echo behind >&2"));
        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal((0, "before\nbehind\n"), (ended.Code, ended.Error));
        Assert.True(input.AsSpan().SequenceEqual(File.ReadAllBytes(folder["out"])));
    }

    [KvmFact]
    public void An_image_that_cannot_be_completed_is_125_and_nothing_that_was_said_is_lost()
    {
        using var folder = new TemporaryFolder();
        string image = folder["disk.qcow2"];
        Assert.Equal(0, VmmProcess.Run("disk", "create", image, "64M").Code);
        using var vmm = VmmProcess.Start(Run(
            "--disk", image, "--", "sh", "-c", "dd if=/dev/zero of=/dev/vda bs=64k count=16 2>/dev/null; echo written; read x; echo last words"));
        vmm.Output.WaitFor("written");

        // What was written stands; the image's tables cannot be, when the machine ends.
        HostTool.Do("prlimit", "--pid", vmm.Id.ToString(CultureInfo.InvariantCulture), "--fsize=0");
        vmm.Type("go\n");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal((125, "written\nlast words\n"), (ended.Code, ended.Output));
        Assert.Contains("disk.qcow2: the image's tables could not all be written", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_triple_fault_is_70()
    {
        VmmProcess.Ended ended = VmmProcess.Run(Run("--cmdline", "reboot=t", "--", "reboot", "-f"));
        Assert.Equal(70, ended.Code);
        Assert.Contains("vmm: the guest crashed: ", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_command_that_does_not_end_is_ended_and_the_guest_says_what_it_did()
    {
        VmmProcess.Ended ended = VmmProcess.Run(Run("--timeout", "1", "--", "sleep", "1000"));
        Assert.Equal(124, ended.Code);
        Assert.Contains("vmm: timed out after 1 s: sleep 1000\n", ended.Error, StringComparison.Ordinal);
        Assert.Matches(@"vmm: vCPU 0: .* at 0x[0-9a-f]+, interrupts (on|off)\n", ended.Error);
        Assert.Contains("sysrq: Show Blocked State", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_guest_that_does_not_boot_is_distinguished_from_a_command_that_hangs()
    {
        VmmProcess.Ended ended = VmmProcess.Run(Run("--cold", "--boot-timeout", "0.3", "--", "true"));
        Assert.Equal(125, ended.Code);
        Assert.Contains("vmm: the guest did not boot", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void Who_sits_at_a_terminal_is_told_that_the_boot_takes_long()
    {
        using TestGuest guest = SmallGuests.Idle();
        using var terminal = new VmmTerminal("run", "--config", "none", "-k", guest.Path, "--root", "none", "--", "true");
        terminal.Screen.WaitFor("vmm: still booting");
        terminal.Signal(Signals.SIGTERM);
        Assert.Equal(128 + Signals.SIGTERM, terminal.WaitForEnd());
    }

    [KvmFact]
    public void What_is_not_there_is_127()
    {
        VmmProcess.Ended ended = VmmProcess.Run(Run("--stats", "--", "no-such-program"));
        Assert.Equal((127, ""), (ended.Code, ended.Output));
        Assert.Matches(@"(?m)^exits +[0-9]+ to user space$", ended.Error);
        Assert.Contains("no-such-program", ended.Error, StringComparison.Ordinal);      // by busybox, which looked for it last
    }

    [KvmFact]
    public void Each_kind_of_complaint_is_found_whatever_the_command_does_and_the_worst_one_is_the_verdict()
    {
        string[] complaints =
        [
            "Kernel panic - not syncing: a test", "Oops: 0000 [#1] PREEMPT SMP", "kernel BUG at mm/slub.c:12!",
            "WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2", "BUG: KASAN: use-after-free in f+0x1/0x2", "BUG: KCSAN: data-race in f / g",
            "UBSAN: array-index-out-of-bounds in x.c:1:2", "WARNING: possible circular locking dependency detected",
            "INFO: task sh:12 blocked for more than 120 seconds.", "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:1]",
            "Watchdog detected hard LOCKUP on cpu 0", "rcu: INFO: rcu_sched self-detected stall on CPU",
            "Out of memory: Killed process 1 (sh) total-vm:1kB",
        ];
        using var folder = new TemporaryFolder();
        string script = string.Concat(complaints.Select(static each => $"echo '<3>{each}' >/dev/kmsg; "));
        VmmProcess.Ended ended = VmmProcess.Run(Run(
            "--result", folder["result"], "--junit", folder["junit.xml"], "--log", folder["log"], "--fail-on", "oom", "--", "sh", "-c", script));
        Assert.Equal(74, ended.Code);
        Assert.Contains("vmm: the guest's kernel complained (oom): Out of memory", ended.Error, StringComparison.Ordinal);
        Assert.Contains("around it:\n", ended.Error, StringComparison.Ordinal);
        Assert.Contains("Out of memory: Killed process 1", ended.Error.Split("around it:\n")[1], StringComparison.Ordinal);
        using JsonDocument result = JsonDocument.Parse(File.ReadAllText(folder["result"]));
        Assert.Equal("complained", result.RootElement.GetProperty("verdict").GetString());
        Assert.Equal(0, result.RootElement.GetProperty("commandCode").GetInt32());
        Assert.Equal(
            ["panic", "oops", "BUG", "WARNING", "KASAN", "KCSAN", "UBSAN", "lockdep", "hung-task", "soft-lockup", "hard-lockup", "rcu-stall", "oom"],
            result.RootElement.GetProperty("complaints").EnumerateArray().Select(static each => each.GetProperty("kind").GetString()));
        Assert.Contains("rcu-stall", File.ReadAllText(folder["junit.xml"]), StringComparison.Ordinal);
        Assert.Matches(@"^\[ +[0-9.]+\] .*Out of memory: Killed process 1", File.ReadAllText(folder["log"]).TrimEnd('\n').Split('\n')[^1]);
    }

    [KvmFact]
    public void A_panic_is_71_and_its_bundle_repeats_it()
    {
        using var folder = new TemporaryFolder();
        VmmProcess.Ended ended = VmmProcess.Run(Run(
            "--bundle", folder["bundle"], "--", "sh", "-c", "echo out; echo c >/proc/sysrq-trigger; sleep 1000"));
        Assert.Equal(71, ended.Code);
        Assert.Contains("vmm: the guest's kernel panicked: sysrq triggered crash", ended.Error, StringComparison.Ordinal);
        Assert.Equal("out\n", File.ReadAllText(folder["bundle/stdout"]));
        Assert.Contains("sysrq triggered crash", File.ReadAllText(folder["bundle/console.log"]), StringComparison.Ordinal);
        Assert.Contains("\"verdict\": \"panicked\"", File.ReadAllText(folder["bundle/result.json"]), StringComparison.Ordinal);
        Assert.Contains("'echo out; echo c >/proc/sysrq-trigger; sleep 1000'", File.ReadAllText(folder["bundle/repeat"]), StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_test_that_fails_fails_the_run_with_ktap_and_one_that_cannot_be_executed_is_126()
    {
        using var folder = new TemporaryFolder();
        VmmProcess.Ended ended = VmmProcess.Run(
            ["boot-timeline", .. Run("--json", folder["boot.json"], "--ktap", "--", "printf", @"TAP version 13\n1..2\nok 1 a\nnot ok 2 b # why\n")]);
        Assert.Equal(1, ended.Code);
        Assert.Contains("vmm: 2 tests: 1 passed, 1 failed, 0 skipped\nvmm: failed: b (why)\n", ended.Error, StringComparison.Ordinal);
        Assert.StartsWith("TAP version 13\n", ended.Output, StringComparison.Ordinal);
        BootTimeline told = TimelineJson.Read(folder["boot.json"]);
        Assert.Equal("1 of 2 tests failed", told.Ending);
        Assert.All((string[])["init", "agent", "command starts", "command ends"], name => Assert.True(told.Find(name)?.IsGuest));
        VmmProcess.Ended exits = VmmProcess.Run(["exits", .. Run("--", "/etc/passwd")]);
        Assert.Equal(126, exits.Code);
        Assert.Contains("exits of 1 vCPU", exits.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void Without_vsock_the_second_serial_port_carries_all_of_it()
    {
        byte[] input = new byte[6 << 10];         // more than a window, and each byte costs an exit
        new Random(7).NextBytes(input);
        using var vmm = VmmProcess.Start(Run("--cmdline", "initcall_blacklist=virtio_vsock_init", "--", "sh", "-c", "tee /dev/stderr; exit 3"));
        vmm.Type(Encoding.Latin1.GetString(input));
        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(3, ended.Code);
        Assert.Equal(SHA256.HashData(input), SHA256.HashData(Encoding.Latin1.GetBytes(ended.Output)));
        Assert.Equal(SHA256.HashData(input), SHA256.HashData(Encoding.Latin1.GetBytes(ended.Error)));
    }

    [KvmFact]
    public void A_terminal_has_job_control_and_its_size_and_is_given_back()
    {
        using var terminal = new VmmTerminal(Run("-it", "--", "sh"));
        terminal.Screen.WaitFor("# ");
        terminal.Type("stty size; echo $((6 * 7))ready; sleep 1000\r");
        terminal.Screen.WaitFor("42ready");
        terminal.Type("\x03");
        terminal.Resize(33, 99);
        terminal.Type("while [ \"$(stty size)\" != '33 99' ]; do sleep 0.1; done; echo re''sized; sh -c 'echo stop''ping; exec sleep 1000'\r");
        terminal.Screen.WaitFor("resized");
        terminal.Screen.WaitFor("stopping");
        terminal.Type("\x1a");
        terminal.Screen.WaitFor("Stopped");
        terminal.Type("echo $((6 * 8))again; kill -9 $$\r");
        (int code, string settings, string screen) = terminal.Finish();
        Assert.Equal(137, code);
        Assert.Contains("48again", screen, StringComparison.Ordinal);
        Assert.Equal(terminal.SettingsBefore, settings);
    }

    [KvmFact]
    public void Shares_are_read_only_unless_rw_and_a_virtiofsd_that_is_killed_is_an_error_of_the_guest()
    {
        using var read = new TemporaryFolder();
        using var written = new TemporaryFolder();
        File.WriteAllText(read["file, one"], "here");
        using var vmm = VmmProcess.Start(Run(
            "--share", $"{read.Path}:/read", "--share", $"{written.Path}:/made/written,rw", "--", "sh", "-c",
            "cat '/read/file, one'; mount -o remount,rw /read; echo x >/read/new; echo there >/made/written/new; echo; echo ready; "
            + "read line; ls /made/written; ls /read/; exit 9"));
        vmm.Output.WaitFor("ready\n");
        Assert.False(File.Exists(read["new"]));
        Assert.Equal("there\n", File.ReadAllText(written["new"]));
        foreach (string child in File.ReadAllText($"/proc/{vmm.Id}/task/{vmm.Id}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            using var program = Process.GetProcessById(int.Parse(child, CultureInfo.InvariantCulture));
            program.Kill();
        }

        vmm.Error.WaitFor($"virtiofsd: it ended; the guest gets I/O errors from {written.Path}");
        vmm.Type("\n");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(9, ended.Code);
        Assert.StartsWith("here\nready\n", ended.Output, StringComparison.Ordinal);
        Assert.Contains("ls: /made/written: Input/output error", ended.Error, StringComparison.Ordinal);
    }

    [KvmFact]
    public void A_network_card_and_a_disk_that_other_programs_serve_carry_frames_and_sectors_both_ways()
    {
        using var folder = new TemporaryFolder();
        byte[] sectors = new byte[1 << 20];
        new Random(8).NextBytes(sectors);
        File.WriteAllBytes(folder["disk"], sectors);
        using var storage = Process.Start(
            "qemu-storage-daemon",
            ["--blockdev", $"driver=file,node-name=file,filename={folder["disk"]}", "--export",
            $"type=vhost-user-blk,id=disk,node-name=file,addr.type=unix,addr.path={folder["blk"]},writable=on"]);
        HostTool.Do(
            "gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", folder["server"],
            Path.Combine(SourceTree.Root, "tests/Guest.Tests/Harness/vhost-user-net.c"));
        using var server = Process.Start(new ProcessStartInfo(folder["server"], [folder["socket"]]) { RedirectStandardOutput = true })!;
        Assert.True(SpinWait.SpinUntil(() => File.Exists(folder["socket"]) && File.Exists(folder["blk"]), Product.Patience));
        VmmProcess.Ended ended = VmmProcess.Run(Run(
            "--vhost-user-net", folder["socket"], "--vhost-user-blk", folder["blk"], "--", "sh", "-c",
            "ip addr add 10.9.9.1/24 dev eth0; ip link set eth0 up; ping -c 2 -W 20 10.9.9.2 || exit 1; "
            + "sha256sum </dev/vda; dd if=/dev/vda of=/dev/vda bs=64k count=4 skip=12 conv=notrunc,fsync 2>/dev/null"));
        storage.Kill();
        storage.WaitForExit();
        Assert.True(ended.Code == 0, ended.Output + ended.Error);
        Assert.Contains(Convert.ToHexStringLower(SHA256.HashData(sectors)), ended.Output, StringComparison.Ordinal);
        sectors.AsSpan(12 << 16, 4 << 16).CopyTo(sectors);
        Assert.True(sectors.AsSpan().SequenceEqual(File.ReadAllBytes(folder["disk"])));
        Assert.Contains("2 packets transmitted, 2 packets received", ended.Output, StringComparison.Ordinal);
        Assert.True(server.WaitForExit(Product.Patience));
        Assert.Equal((0, "2\n"), (server.ExitCode, server.StandardOutput.ReadToEnd()));
    }

    [KvmFact]
    public void A_virtiofsd_that_hangs_is_reported_and_the_run_ends_all_the_same()
    {
        using var tree = new TemporaryFolder();
        using var vmm = VmmProcess.Start(Run(
            "--share", $"{tree.Path}:/tree", "--timeout", "18s", "--", "sh", "-c", "echo ready; read line; ls /tree/new"));
        vmm.Output.WaitFor("ready\n");
        string child = File.ReadAllText($"/proc/{vmm.Id}/task/{vmm.Id}/children").Split(' ')[0];
        foreach (string each in (string[])[child, .. File.ReadAllText($"/proc/{child}/task/{child}/children").Split(' ')])
        {
            if (each.Length > 0)
            {
                HostTool.Do("kill", "-STOP", each);
            }
        }

        vmm.Type("\n");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(124, ended.Code);
        Assert.Contains($"virtiofsd of {tree.Path}: it has answered nothing for 10 s, 1 of the guest's requests wait\n", ended.Error, StringComparison.Ordinal);
        Assert.Contains("vmm: timed out after 18 s: ", ended.Error, StringComparison.Ordinal);
    }

    /// <summary>A small disk is where temporary files go; nothing stays on it.</summary>
    [Fact]
    public void A_directory_for_whose_image_there_is_no_room_is_told_before_the_boot()
    {
        using var tree = new TemporaryFolder();
        File.WriteAllBytes(tree["data"], new byte[1 << 20]);
        using var vmm = VmmProcess.StartAmongMounts(
            "mount -t tmpfs -o size=256k tmpfs /var/tmp && export TMPDIR=/var/tmp", "run", "--kernel", "/bin/true", "--root", tree.Path, "--pack", "--", "true");
        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(125, ended.Code);
        Assert.Equal(
            $"vmm: packing {tree.Path} into an image\nvmm: --root {tree.Path}: no room for its image; "
            + "TMPDIR names a directory with more, it is in /var/tmp if that is not set\n",
            ended.Error);
    }

    [Theory]
    [InlineData("no command given", "run", "--kernel", "x")]
    [InlineData("--kernel nosuch: no such file, and no kernel of that name", "run", "--kernel", "nosuch", "--", "true")]
    [InlineData("did you mean debian?", "run", "--kernel", "debain", "--", "true")]
    [InlineData("--timeout 0: must be above zero", "run", "--kernel", "x", "--timeout", "0", "--", "true")]
    [InlineData("--timeout soon: not a duration", "run", "--kernel", "x", "--timeout", "soon", "--", "true")]
    [InlineData("--hostname", "run", "--kernel", "x", "--hostname", "a b", "--", "true")]
    [InlineData("--keep: there is no root image", "run", "--kernel", "x", "--keep", "y", "--", "true")]
    [InlineData("--root /nothing: No such file or directory", "run", "--kernel", "x", "--root", "/nothing", "--", "true")]
    [InlineData("--env =x: no name", "run", "--kernel", "x", "--env", "=x", "--", "true")]
    [InlineData("-t: standard input is no terminal", "run", "--kernel", "./x", "-t", "--", "true")]
    [InlineData("--rw: only with a directory as root", "run", "--kernel", "x", "--root", "none", "--rw", "--", "true")]
    [InlineData("--keep: there is no root image", "run", "--kernel", "x", "--root", "/", "--keep", "y", "--", "true")]
    [InlineData("--pack: there is no directory to pack", "run", "--kernel", "x", "--root", "none", "--pack", "--", "true")]
    [InlineData("--rw: needs a root that is shared, not packed", "run", "--kernel", "x", "--root", "/tmp", "--pack", "--rw", "--", "true")]
    [InlineData("vmm exits run: is for one machine", "exits", "run", "--kernel", "./x", "--each", "/etc/pass*", "--", "true")]
    [InlineData("--trace /tmp/x: would be the same for every run", "run", "--kernel", "./x", "--trace", "/tmp/x", "--each", "/etc/host*", "--", "true")]
    [InlineData("--format no: no such format", "exits", "run", "--kernel", "./x", "--root", "none", "--format", "no", "--", "true")]
    [InlineData("--share /tmp: takes a directory of this host", "run", "--kernel", "x", "--share", "/tmp", "--", "true")]
    public void A_mistake_is_one_line_and_64(string message, params string[] words)
    {
        VmmProcess.Ended ended = VmmProcess.Run(words);
        Assert.Equal(64, ended.Code);
        Assert.StartsWith("vmm: ", ended.Error);
        Assert.Contains(message, ended.Error, StringComparison.Ordinal);
        Assert.Equal(1, ended.Error.Count(each => each == '\n'));
    }
}
