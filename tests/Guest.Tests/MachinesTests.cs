using System.Diagnostics;
using System.Text;
using Vmm.Guest.Tests.Harness;
using Vmm.Named;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>Machines that stay in the background, as a user without rights has them.</summary>
public sealed class MachinesTests
{
    private const string Script = "tests/Guest.Tests/Scripts/three-machines.sh";

    /// <summary>A machine that cannot be written down is not made, in the background or in the foreground, and nothing is left.</summary>
    [Theory]
    [InlineData("nr_inodes=2", "No space left on device")]
    [InlineData("ro", "Read-only file system")]
    public void A_place_for_machines_that_is_full_or_read_only_is_one_line(string option, string said)
    {
        using var folder = new TemporaryFolder();
        foreach (string[] words in (string[][])[["--detach", "--name", "web"], ["--name", "web"]])
        {
            using var vmm = VmmProcess.StartAmongMounts(
                $"mount -t tmpfs -o {option},mode=700 tmpfs {folder.Path} && export VMM_STATE_DIR={folder.Path}", [.. words, "--kernel", "/bin/true"]);
            vmm.CloseInput();
            VmmProcess.Ended ended = vmm.WaitForEnd();
            Assert.Equal((69, $"vmm: {folder.Path}/machines: {said}\n"), (ended.Code, ended.Error));
        }
    }

    /// <summary>As where a file system has had an error: nothing can be written down, and a machine can be ended all the same.</summary>
    [KvmFact]
    public void Where_the_place_for_machines_has_become_read_only_machines_are_ended_all_the_same()
    {
        using var folder = new TemporaryFolder();
        using TestGuest idle = SmallGuests.Idle();
        string state = Directory.CreateDirectory(folder["s"], PrivateFiles.DirectoryMode).FullName;
        string places = $"export VMM_STATE_DIR={state} VMM_RUNTIME_DIR={folder["r"]} && unset VMM_KVM_EMULATED";
        VmmProcess.Ended Ask(bool isReadOnly, params string[] words)
        {
            using VmmProcess vmm = isReadOnly
                ? VmmProcess.StartAmongMounts($"mount --bind {state} {state} && mount -o remount,bind,ro {state} && {places}", words)
                : VmmProcess.StartInShell($"{places} && exec \"$@\"", words);
            vmm.CloseInput();
            return vmm.WaitForEnd();
        }

        try
        {
            foreach (string name in (string[])["a", "b"])
            {
                VmmProcess.Ended started = Ask(false, "--detach", "--name", name, "--kernel", idle.Path, "-m", "32M", "--restart", name == "a" ? "no" : "always");
                Assert.True(started.Code == 0, started.Error);
            }

            const string ReadOnly = "Read-only file system";
            VmmProcess.Ended stopped = Ask(true, "stop", "a");
            Assert.Equal((0, "a\n", $"vmm: a: it has ended, and that cannot be written down: {state}/machines/a: {ReadOnly}\n"), (stopped.Code, stopped.Output, stopped.Error));
            VmmProcess.Ended refused = Ask(true, "kill", "b");
            Assert.Equal((1, ""), (refused.Code, refused.Output));
            Assert.StartsWith($"vmm: {state}/machines/b: {ReadOnly}, and it would be started again (--restart); 'kill -9 ", refused.Error, StringComparison.Ordinal);
            foreach (string[] words in (string[][])[["rename", "b", "c"], ["rm", "a"], ["start", "a"]])
            {
                VmmProcess.Ended ended = Ask(true, words);
                Assert.Equal((1, ""), (ended.Code, ended.Output));
                OneLine.AssertIs(ReadOnly, ended.Error);
            }

            Assert.Equal("a\nb\n", Ask(true, "ps", "-aq").Output);
        }
        finally
        {
            Ask(false, "rm", "-f", "a", "b");
        }

        Assert.Equal("", Ask(false, "ps", "-aq").Output);
    }

    /// <summary>A script of fifty commands over the life of three machines, each with its exit code and what it says; then
    /// nothing is left. Root becomes nobody for it, with a /dev/kvm that nobody may use, in mounts of its own.</summary>
    [KvmFact]
    public void Fifty_commands_over_the_life_of_three_machines()
    {
        using var folder = new TemporaryFolder();
        using TestGuest idle = SmallGuests.Idle();
        using TestGuest crash = SmallGuests.Crashing();
        string[] files = ["vmm", "vmlinux", "idle.elf", "crash.elf"];
        foreach ((string from, string name) in ((string[])[Product.Vmm, Product.Vmlinux, idle.Path, crash.Path]).Zip(files))
        {
            File.Copy(from, folder[name]);
        }

        File.Copy(Path.Combine(SourceTree.Root, Script), folder["script"]);
        HostTool.Run("chmod", "-R", "a+rX", folder.Path);
        HostTool.Run("chmod", "a+rx", folder["vmm"], folder.Path);
        string home = Directory.CreateDirectory(folder["home"]).FullName;
        string start = Environment.IsPrivilegedProcess
            ? $"chown 65534:65534 {home} && exec unshare --mount sh -c 'mkdir {folder["dev"]} && mount -t tmpfs tmpfs {folder["dev"]} "
                + $"&& mknod -m 666 {folder["dev"]}/kvm c 10 232 && mount --bind {folder["dev"]}/kvm /dev/kvm "
                + $"&& exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs bash {folder["script"]} {folder.Path}'"
            : $"exec bash {folder["script"]} {folder.Path}";
        var info = new ProcessStartInfo("/usr/bin/env", ["--default-signal", "sh", "-c", start])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        info.Environment["HOME"] = home;
        info.Environment["XDG_RUNTIME_DIR"] = folder["home/run"];
        info.Environment.Remove("XDG_STATE_HOME");
        info.Environment.Remove("VMM_KVM_EMULATED");        // the host lives as long as this test: its machines may stay
        using Process process = Process.Start(info)!;
        process.StandardInput.Close();
        var said = new StringBuilder();
        process.ErrorDataReceived += (_, line) => said.Append(line.Data).Append('\n');
        process.BeginErrorReadLine();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{output}\n{said}");
        Assert.True(output.Split('\n').Count(static line => line.StartsWith("ok ", StringComparison.Ordinal)) >= 50, output);
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder["home/run/vmm"]));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder["home/.local/state/vmm/machines"]));
    }
}
