using System.Diagnostics;
using System.Globalization;
using Vmm.Boot;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;
using Xunit.Abstractions;

namespace Vmm.Guest.Tests.Soak;

/// <summary>Linux under load on its disk, its network and its sockets is saved, its vmm killed, and restored, again and again.</summary>
public sealed class SavedUnderLoadTests(ITestOutputHelper output) : IDisposable
{
    private const string Variable = "ROUNDS", Name = "soak";
    private const long DiskBytes = 48 << 20;

    private readonly TemporaryFolder _folder = new();

    private LoadPeers? _peers;
    private LoadedMachine? _machine;
    private LoadStatus? _before;            // of the last snapshot: what the guest said before
    private ulong[] _least = [], _most = [];        // and how far the host's ends were before and after
    private int _killed, _rewound;
    private string _pause = "";

    private static int Rounds =>
        int.TryParse(Environment.GetEnvironmentVariable(Variable), NumberStyles.None, CultureInfo.InvariantCulture, out int rounds) ? rounds
        : Environment.GetEnvironmentVariable("VMM_KVM_EMULATED") is { Length: > 0 } ? 2 : 6;

    private string Vsock => _folder["v"];

    public void Dispose()
    {
        _machine?.Dispose();
        _peers?.Dispose();
        _folder.Dispose();
    }

    /// <summary>One boot. Half of the rounds with a disk that is written to for good, of which a copy is taken while the machine is paused
    /// and saved; the other half with an ephemeral one, whose content is in the snapshot, saved while it runs. After each round the guest
    /// says that what it reads is what it has written, and the host that no message is missing. The guest's clock is the rounds'
    /// own: nothing here waits for a time.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.StartsPrograms)]
    public void Saved_killed_and_restored_the_guest_goes_on_and_its_disk_is_whole()
    {
        _peers = new LoadPeers(Vsock);
        var took = Stopwatch.StartNew();
        HostTool.MakeExt4(_folder["disk0.img"], DiskBytes);
        _machine = Boot(_folder["disk0.img"]);
        _machine.GoOn(3);
        string disk = OnOneDisk(Rounds / 2, took);
        OnEphemeralDisk(disk, Rounds - (Rounds / 2), took);
    }

    /// <returns>A copy of the disk that belongs to a last snapshot, "base".</returns>
    private string OnOneDisk(int rounds, Stopwatch took)
    {
        string disk = _folder["disk0.img"], saved = "";
        for (int round = 1; round <= rounds; round++)
        {
            (string directory, string copy) = (_folder[$"paused{round}"], _folder[$"disk{round}.img"]);
            Again(() => SavePaused(directory, disk, copy), directory, copy);
            Forget(saved, disk);
            (saved, disk) = (directory, copy);
        }

        _before = _machine!.Ask();
        _least = _peers!.Now;
        SavePaused(_folder["base"], disk, _folder["base.img"]);
        _most = _peers.Now;
        LoadStatus last = Quit();
        _machine.PowerOff();
        HostTool.AssertClean(disk);
        Tell($"{_killed} rounds on one disk", took, last);
        return _folder["base.img"];
    }

    private void OnEphemeralDisk(string disk, int rounds, Stopwatch took)
    {
        string saved = "";
        GoOnFrom(_folder["base"], disk + ",ephemeral");
        for (int round = 1; round <= rounds; round++)
        {
            string directory = _folder[$"live{round}"];
            Again(() => Save("--live", directory), directory);
            if (round % 3 == 0)
            {
                Rewind(_folder[$"rewound{round}"]);
            }

            Forget(saved);
            saved = directory;
        }

        LoadStatus last = Quit();
        Vmm("snapshot", "--stop", _machine!.Address, _folder["end"]);
        _machine.Vmm.WaitForEnd();
        AssertClean(Path.Combine(_folder["end"], "disk0.qcow2"), disk);
        Tell($"{_killed} rounds in all, {rounds} of them saved while they ran (the last: {_pause}), {_rewound} times taken back in place", took, last);
    }

    private void Tell(string what, Stopwatch took, LoadStatus last) => output.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{what}, {took.Elapsed.TotalSeconds:0} s: {last.Steps[0]} blocks, {last.Steps[1]} files, {last.Steps[2]} TCP, {last.Steps[3]} UDP, "
        + $"{last.Steps[4]} vsock messages; {last.Reconnects} connections made anew, {last.Resends} datagrams sent again; e2fsck -fn: clean"));

    private LoadedMachine Boot(string disk)
    {
        string control = _folder["control"];
        VmmProcess vmm = Start(
            "--kernel", Product.Vmlinux, "--initrd", Initrd(), "-m", "96M", "--disk", disk, "--net", "user", "--vsock", Vsock, "--rng",
            "--control", control, "--cmdline", $"quiet ip=dhcp LOAD_TCP={_peers!.TcpPort} LOAD_UDP={_peers.UdpPort}");
        vmm.Output.WaitFor("loaded");
        return new LoadedMachine(vmm, control, Vsock);
    }

    /// <summary>Saves it, lets it go on for a while, kills it, and lets it go on from where it was saved.</summary>
    private void Again(Action save, string directory, string? disk = null)
    {
        (_before, _least) = (_machine!.Ask(), _peers!.Now);
        save();
        _most = _peers.Now;
        _machine.GoOn(2);
        _machine.Kill();
        _killed++;
        if (_machine.Address == Name)
        {
            Vmm("rm", Name);        // its vmm was killed, its name stays
        }

        GoOnFrom(directory, disk);
    }

    private void GoOnFrom(string directory, string? disk)
    {
        _peers!.GoBack(_least, _most);
        _machine!.Dispose();
        _machine = new LoadedMachine(
            Start(["restore", directory, "--name", Name, .. disk is null ? [] : (string[])["--disk", disk]]), Name, Vsock);
        _machine.GoOnFrom(_before!, 2);
        _peers.AssertRight();
    }

    /// <summary>Back in place, and nobody is killed.</summary>
    private void Rewind(string directory)
    {
        (LoadStatus before, ulong[] least) = (_machine!.Ask(), _peers!.Now);
        Save("--live", directory);
        ulong[] most = _peers.Now;
        _machine.GoOn(2);
        _peers.GoBack(least, most);
        Vmm("rewind", _machine.Address);
        _machine.GoOnFrom(before, 2);
        _peers.AssertRight();
        Forget(directory);
        _rewound++;
    }

    private void SavePaused(string directory, string disk, string copy)
    {
        Vmm("ctl", _machine!.Address, "pause");
        Save("", directory);
        HostTool.Do("cp", "--sparse=always", disk, copy);
        Vmm("ctl", _machine.Address, "resume");
        AssertRecovers(copy);
    }

    private void Save(string how, string directory)
    {
        VmmProcess.Ended ended = Vmm(["snapshot", .. how.Length == 0 ? [] : (string[])[how], _machine!.Address, directory]);
        _pause = (ended.Output + ended.Error).Trim();
    }

    private LoadStatus Quit()
    {
        LoadStatus last = _machine!.Ask('q');
        Assert.True(last.Wrong.Length == 0, last.Wrong);
        _peers!.AssertRight();
        return last;
    }

    private VmmProcess.Ended Vmm(params IEnumerable<string> arguments)
    {
        using VmmProcess vmm = Start(arguments);
        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.True(ended.Code == 0, $"{string.Join(' ', arguments)}: {ended.Error}");
        return ended;
    }

    private VmmProcess Start(params IEnumerable<string> arguments)
    {
        Directory.CreateDirectory(_folder["run"], UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return VmmProcess.StartInShell(
            $"export HOME={_folder.Path} XDG_RUNTIME_DIR={_folder["run"]}; unset XDG_STATE_HOME VMM_KVM_EMULATED; exec \"$@\"", arguments);
    }

    /// <summary>A disk as it was at one moment is one that lost power: its journal is replayed, and then it is clean.</summary>
    private void AssertRecovers(string disk)
    {
        string copy = _folder["check.img"];
        HostTool.Do("cp", "--sparse=always", disk, copy);
        (int code, string said) = HostTool.Run("e2fsck", "-p", copy);
        Assert.True(code <= HostTool.Repaired, said);
        HostTool.AssertClean(copy);
    }

    private void AssertClean(string overlay, string backing)
    {
        string flat = _folder["flat.img"];
        HostTool.Do("qemu-img", "rebase", "-u", "-F", "raw", "-b", backing, overlay);
        HostTool.Do("qemu-img", "convert", "-O", "raw", overlay, flat);
        HostTool.AssertClean(flat);
    }

    private static void Forget(string directory, string? disk = null)
    {
        if (directory.Length > 0)
        {
            Directory.Delete(directory, recursive: true);
        }

        if (disk is not null)
        {
            File.Delete(disk);
        }
    }

    private string Initrd()
    {
        string program = _folder["init"], source = Path.Combine(SourceTree.Root, "tests/Guest.Tests/Soak/load.c");
        HostTool.Do("gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, source);
        using var archive = new CpioArchive();
        archive.Directory("dev").Device("dev/console", 5, 1).Program("init", File.ReadAllBytes(program));
        return _folder.Write("initrd", archive.Finish().Span);
    }
}
