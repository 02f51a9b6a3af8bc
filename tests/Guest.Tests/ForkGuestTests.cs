using System.Globalization;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary><c>vmm fork</c> of a Linux machine.</summary>
public sealed class ForkGuestTests : IDisposable
{
    private const int Forks = 8, FromInside = 2;

    // A line each of what no two machines may share; the last comes from getrandom(2).
    private const string Own = "hostname; cat /etc/machine-id; cat /sys/class/net/eth0/address; cat /proc/sys/kernel/random/uuid; "
        + "head -c 16 /dev/urandom | od -An -tx8; mktemp -u /tmp/XXXXXXXXXXXXXXXX; ";

    // Linux says so when its driver of the VM generation ID has taken a new one.
    private const string Line = "dmesg | grep -q 'crng reseeded due to virtual machine fork'";
    private const string NotTold = $"! {Line}", Told = $"until {Line}; do sleep 0.1; done";

    private readonly TemporaryFolder _folder = new();

    public void Dispose()
    {
        string[] left = Vmm("ps", "-aq").Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (left.Length > 0)
        {
            Vmm(["rm", "-f", .. left]);
        }

        _folder.Dispose();
    }

    /// <summary>One boot. From outside, then the guest by itself; each fork runs a test of its own and goes on with what ran.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Forks_of_one_boot_run_a_test_each_and_differ_where_they_must()
    {
        const string Waiting = "mkdir -p /etc; mkfifo /go; echo 00112233445566778899aabbccddeeff > /etc/machine-id; while :; do read x < /go && echo went on: $x; done";
        Assert.Equal((0, "t\n"), Said(Vmm(
            "run", "-d", "--name", "t", $"--fork-port={FromInside}", "--kernel", Product.Vmlinux, "-m", "128M", "--root", "none", "--net", "user", "--",
            "sh", "-c", Waiting)));
        Assert.Equal("yes\n", Until("t", "test -s /etc/machine-id && echo yes"));
        string[] names = [.. Enumerable.Range(1, Forks).Select(static i => $"t-{i}")];
        Assert.Equal(names, ForkTwiceAtOnce("t", Forks / 2));
        string[][] own = [.. Each(
            ["t", .. names], static (_, i) => $"{Own} {(i == 0 ? NotTold : Told)} && exit {i}", static (i, ended) => Assert.Equal(i, ended.Code))];
        Assert.Equal("t-3", own[3][0]);
        Assert.All(own, static lines => Assert.Equal(6, lines.Length));
        for (int line = 0; line < own[0].Length; line++)
        {
            Assert.Equal(own.Length, own.Select(lines => lines[line]).Distinct().Count());
        }

        foreach (string name in (string[])["t", $"t-{Forks}"])
        {
            Assert.Equal(0, Vmm("exec", name, "--", "sh", "-c", "hostname > /go").Code);
            WaitForLog(name, $"went on: {(name == "t" ? "vmm" : name)}");
        }

        GoesBack("t-1", own[1]);

        // What runs when it asks goes on in all three, and each knows which one it is.
        Assert.Equal((1, ""), Said(Vmm("exec", "t-1", "--", "/run/vmm-fork", "1")));
        Assert.Equal((1, ""), Said(Vmm("exec", "t", "--", "/run/vmm-fork", $"{FromInside + 1}")));
        Assert.Equal((64, ""), Said(Vmm("exec", "t", "--", "/run/vmm-fork", "0")));
        Assert.Equal((0, "0\n"), Said(Vmm("exec", "t", "--", "sh", "-c", $"n=$(/run/vmm-fork {FromInside}); echo $n $(hostname) > /which; echo $n")));
        for (int i = 1; i <= FromInside; i++)
        {
            string name = $"t-{Forks + i}";
            Assert.Equal($"{i} {name}\n", Until(name, "cat /which 2>/dev/null"));
        }

        Assert.Equal((1, ""), Said(Vmm("exec", "t", "--", "/run/vmm-fork", "1")));      // that was all that it may have
        Assert.Equal((64, ""), Said(Vmm("fork", "t", "--name", "t-1")));
        Assert.Equal(0, Vmm(["rm", "-f", "t", .. names, .. Enumerable.Range(Forks + 1, FromInside).Select(static i => $"t-{i}")]).Code);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder["run/vmm"]));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder[".local/state/vmm/machines"]));
    }

    /// <summary>A fork goes back to where it was forked. It is itself each time, what runs goes on from then, and what was started since is lost.
    /// (three-machines.sh takes others back to snapshots.)</summary>
    /// <param name="own">What <see cref="Own"/> said.</param>
    private void GoesBack(string name, string[] own)
    {
        const string Identity = "hostname; cat /etc/machine-id; cat /sys/class/net/eth0/address", Random = "head -c 16 /dev/urandom | od -An -tx8";
        var random = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 1; i <= 2; i++)
        {
            using VmmProcess started = Start(["exec", name, "--", "sh", "-c", "touch /mark; echo up; exec sleep 1000"]);
            started.Output.WaitFor("up\n");
            VmmProcess.Ended back = Vmm("rewind", name);
            Assert.True(back.Code == 0, back.Error);
            started.CloseInput();
            VmmProcess.Ended lost = started.WaitForEnd();
            Assert.Equal(125, lost.Code);
            Assert.Contains("sh: the machine went back to its snapshot while it ran", lost.Error, StringComparison.Ordinal);
            string[] now = Vmm("exec", name, "--", "sh", "-c", $"{Identity}; {Random}; ls -d /mark").Output.Split(
                '\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(own[..3], now[..3]);
            Assert.True(random.Add(now[3]), "random numbers came again");
            Assert.Equal(4, now.Length);
            Assert.Equal(0, Vmm("exec", name, "--", "sh", "-c", $"echo back {i} > /go").Code);
            WaitForLog(name, $"went on: back {i}");
        }
    }

    /// <summary>Two commands race for names, sockets and memory.</summary>
    /// <returns>The names of all, in order.</returns>
    private string[] ForkTwiceAtOnce(string name, int each)
    {
        VmmProcess[] asked = [.. Enumerable.Range(0, 2).Select(_ => Start(["fork", name, "-n", $"{each}"]))];
        var names = new List<string>();
        foreach (VmmProcess fork in asked)
        {
            using (fork)
            {
                fork.CloseInput();
                VmmProcess.Ended ended = fork.WaitForEnd();
                Assert.True(ended.Code == 0, ended.Error);
                names.AddRange(ended.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
            }
        }

        Assert.Equal(2 * each, names.Count);
        return [.. names.Order(StringComparer.Ordinal)];
    }

    /// <summary>One boot. What a machine has open of the host's goes on in its forks, and where it is restored: each has a virtiofsd of its
    /// own.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Files_of_the_host_stay_open_in_forks_and_in_restored_machines()
    {
        const string Waiting = "exec 3</data/lines; read a <&3; echo first $a; mkfifo /go; while :; do read x < /go && read a <&3 && echo $x $a; done";
        foreach (string each in (string[])["data", "other"])
        {
            Directory.CreateDirectory(_folder[each]);
            File.WriteAllText(_folder[$"{each}/lines"], "one\ntwo\nthree\n");
        }

        File.WriteAllText(_folder["other/more"], "only there\n");
        Assert.Equal((0, "s\n"), Said(Vmm(
            "run", "-d", "--name", "s", "--kernel", Product.Vmlinux, "-m", "128M", "--root", "none", "--share", $"{_folder["data"]}:/data,rw", "--",
            "sh", "-c", Waiting)));
        WaitForLog("s", "first one");
        Assert.Equal(0, Vmm("snapshot", "s", _folder["saved"]).Code);
        Assert.Equal((0, "s-1\n"), Said(Vmm("fork", "s")));
        Assert.Equal((0, "r\n"), Said(Vmm("restore", _folder["saved"], "--share", $"{_folder["other"]}:/data", "--name", "r", "--detach")));
        foreach (string name in (string[])["s", "s-1", "r"])
        {
            Assert.Equal(0, Vmm("exec", name, "--", "sh", "-c", $"echo {name} > /go").Code);
            WaitForLog(name, $"{name} two");
        }

        Assert.Equal((0, "only there\n"), Said(Vmm("exec", "r", "--", "cat", "/data/more")));
        Assert.Equal(1, Vmm("exec", "r", "--", "sh", "-c", "echo x > /data/new").Code);         // read-only now
        Assert.Equal(0, Vmm("exec", "s-1", "--", "sh", "-c", "echo a fork was here > /data/new").Code);
        Assert.Equal("a fork was here\n", File.ReadAllText(_folder["data/new"]));
        Assert.Equal((0, "a fork was here\n"), Said(Vmm("exec", "s", "--", "cat", "/data/new")));
        VmmProcess.Ended refused = Vmm("restore", _folder["saved"], "--share", $"{_folder["other"]}:/elsewhere");
        Assert.Equal(64, refused.Code);
        Assert.Contains("none there, only /data", refused.Error, StringComparison.Ordinal);
        Assert.Equal(0, Vmm("rm", "-f", "s", "s-1", "r").Code);
    }

    private static (int Code, string Output) Said(VmmProcess.Ended ended) => (ended.Code, ended.Output);

    private VmmProcess.Ended Vmm(params IEnumerable<string> arguments)
    {
        using VmmProcess vmm = Start(arguments);
        vmm.CloseInput();
        return vmm.WaitForEnd();
    }

    private VmmProcess Start(IEnumerable<string> arguments)
    {
        Directory.CreateDirectory(_folder["run"], UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return VmmProcess.StartInShell(
            $"export HOME={_folder.Path} XDG_RUNTIME_DIR={_folder["run"]} PATH={RustVirtiofsd.Directory}:$PATH; "
            + "unset XDG_STATE_HOME VMM_KVM_EMULATED; exec \"$@\"", arguments);
    }

    /// <summary>Asks all machines at the same time.</summary>
    private IEnumerable<string[]> Each(string[] machines, Func<string, int, string> script, Action<int, VmmProcess.Ended> check)
    {
        VmmProcess[] asked = [.. machines.Select((name, i) => Start(["exec", name, "--", "sh", "-c", script(name, i)]))];
        for (int i = 0; i < asked.Length; i++)
        {
            using VmmProcess vmm = asked[i];
            vmm.CloseInput();
            VmmProcess.Ended ended = vmm.WaitForEnd();
            check(i, ended);
            yield return ended.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        }
    }

    private string Until(string machine, string script)
    {
        DateTime end = DateTime.UtcNow + Product.Patience;
        while (true)
        {
            VmmProcess.Ended ended = Vmm("exec", machine, "--", "sh", "-c", script);
            if (ended.Output.Length > 0)
            {
                return ended.Output;
            }

            Assert.True(DateTime.UtcNow < end, ended.Error);
            Thread.Sleep(200);
        }
    }

    private void WaitForLog(string machine, string line)
    {
        DateTime end = DateTime.UtcNow + Product.Patience;
        while (!Vmm("logs", machine).Output.Contains(line + "\n", StringComparison.Ordinal))
        {
            Assert.True(DateTime.UtcNow < end, string.Create(CultureInfo.InvariantCulture, $"{machine} does not say '{line}'"));
            Thread.Sleep(200);
        }
    }
}
