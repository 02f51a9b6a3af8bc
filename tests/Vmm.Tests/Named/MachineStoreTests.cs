using Vmm.Host;
using Vmm.Named;

namespace Vmm.Tests.Named;

public sealed class MachineStoreTests : IDisposable
{
    private readonly TemporaryStore _place = new();

    private MachineStore Store => _place.Store;

    public void Dispose() => _place.Dispose();

    [Fact]
    public void There_are_no_machines_where_there_is_no_directory() =>
        Assert.Empty(new MachineStore(Path.Combine(_place.Runtime, "none"), () => "").List());

    [Fact]
    public void A_name_is_for_one_machine()
    {
        _place.Add("db");
        Assert.Null(Store.TryCreate(_place.Record("db")));
        Assert.Equal(["db"], Store.List().Select(static each => each.Name));
        Assert.Single(Directory.EnumerateDirectories(Store.Root));
    }

    [Fact]
    public void Of_many_at_once_one_gets_the_name()
    {
        int made = 0;
        Parallel.For(0, 32, _ =>
        {
            // Each in a store of its own, as each is in a process of its own.
            if (new MachineStore(Store.Root, () => _place.Runtime).TryCreate(_place.Record("db")) is { } created)
            {
                Interlocked.Increment(ref made);
                created.Life.Dispose();
            }
        });
        Assert.Equal(1, made);
        Assert.Equal("db", Assert.Single(Store.List()).Read().Name);
    }

    [Fact]
    public void It_runs_as_long_as_somebody_holds_its_lock()
    {
        (MachineFolder folder, FileDescriptor life) = Store.TryCreate(_place.Record("db"))!.Value;
        Assert.True(folder.IsRunning);
        Assert.Null(folder.TryTakeLife());
        Assert.Contains("rm -f", Assert.Throws<HostException>(() => Store.Remove(folder)).Message, StringComparison.Ordinal);
        Assert.True(folder.IsRunning);
        life.Dispose();
        Assert.False(folder.IsRunning);
        Store.Remove(folder);
        Assert.False(folder.IsRunning);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Store.Root));
    }

    [Fact]
    public void Of_two_that_remove_it_one_does()
    {
        for (int round = 0; round < 20; round++)
        {
            _place.Add("db");
            int removed = 0;
            Parallel.For(0, 4, _ =>
            {
                try
                {
                    Store.Remove(Store.Find("db"));
                    Interlocked.Increment(ref removed);
                }
                catch (HostException error)
                {
                    Assert.Equal("db: no such machine; 'vmm ps -a' lists them", error.Message);
                }
            });
            Assert.Equal(1, removed);
            Assert.Empty(Directory.EnumerateFileSystemEntries(Store.Root));
        }
    }

    [Fact]
    public void Removing_takes_what_a_killed_vmm_left()
    {
        MachineFolder folder = _place.Add("db", static record => record with { Pid = 1, Boot = "of another boot", Started = DateTimeOffset.UtcNow });
        string runtime = folder.RuntimePath(folder.Read());
        Directory.CreateDirectory(runtime);
        File.WriteAllText(folder.ControlPath(folder.Read()), "");
        MachineStatus view = MachineStatus.Of(folder);
        Assert.Equal((MachineStateName.Dead, $"the host restarted; it left {runtime}"), (view.State, view.Detail));
        Store.Remove(folder);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_place.Runtime));
    }

    [Fact]
    public void A_machine_that_was_killed_is_told_from_one_that_ended()
    {
        MachineFolder killed = _place.Add("killed", static record => record with { Pid = 1, Boot = MachineRecord.BootOfHost });
        MachineFolder ended = _place.Add("ended", static record => record with { ExitCode = 3, Verdict = "the command ended with 3", Ended = DateTimeOffset.UtcNow });
        Assert.Equal((MachineStateName.Dead, "its vmm was killed"), (MachineStatus.Of(killed).State, MachineStatus.Of(killed).Detail));
        Assert.Equal((MachineStateName.Exited, 3), (MachineStatus.Of(ended).State, MachineStatus.Of(ended).ExitCode!.Value));
    }

    [Fact]
    public void A_machine_is_renamed_with_its_sockets_directory()
    {
        (MachineFolder folder, FileDescriptor life) = Store.TryCreate(_place.Record("db"))!.Value;
        using (life)
        {
            Directory.CreateDirectory(folder.RuntimePath(folder.Read()));
            Store.Rename(folder, "old");
            MachineFolder renamed = Assert.Single(Store.List());
            Assert.Equal(("old", "old", true), (renamed.Name, renamed.Read().Name, renamed.IsRunning));
            Assert.Equal([Path.Combine(_place.Runtime, "old")], Directory.EnumerateDirectories(_place.Runtime));
        }

        _place.Add("db");
        Assert.Contains("there is such a machine", Assert.Throws<HostException>(() => Store.Rename(Store.Find("db"), "old")).Message, StringComparison.Ordinal);
        Assert.Contains("no such machine", Assert.Throws<HostException>(() => Store.Find("none")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_a_killed_vmm_was_making_is_swept_away()
    {
        _place.Add("db");
        string left = Path.Combine(Store.Root, ".web.4194304");       // above every process number (proc(5), pid_max)
        Directory.CreateDirectory(left);
        Assert.Equal(["db"], Store.List().Select(static each => each.Name));
        string held = Path.Combine(Store.Root, ".far.4194304");       // of a vmm in another PID name space
        Directory.CreateDirectory(held);
        using (new MachineFolder(held).CreateLife())
        {
            _place.Add("web");
            Assert.False(Directory.Exists(left));
            Assert.True(Directory.Exists(held));
        }

        _place.Add("last");
        Assert.False(Directory.Exists(held));
    }

    [Fact]
    public void A_place_that_is_no_directory_is_one_clear_line()
    {
        string file = Path.Combine(_place.Runtime, "file");
        File.WriteAllText(file, "");
        var store = new MachineStore(Path.Combine(file, "machines"), () => _place.Runtime);
        string message = Assert.Throws<HostException>(() => store.TryCreate(_place.Record("db"))).Message;
        Assert.StartsWith(file, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_place_that_others_may_use_is_refused()
    {
        Directory.CreateDirectory(Store.Root);
        File.SetUnixFileMode(Store.Root, PrivateFiles.DirectoryMode | UnixFileMode.GroupRead | UnixFileMode.GroupExecute);
        Assert.Contains("chmod 700", Assert.Throws<HostException>(() => Store.TryCreate(_place.Record("db"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_runtime_directory_is_where_the_system_has_it_else_a_private_one()
    {
        string Below(string name) => Path.Combine(_place.Runtime, name);
        uint user = LibC.geteuid();
        Assert.Equal(Below("own"), RuntimeRoot.Find(Below("own"), Below("chosen"), Below("none"), _place.Runtime, user));
        Assert.Equal(Below("chosen/vmm"), RuntimeRoot.Find(null, Below("chosen"), Below("none"), _place.Runtime, user));
        Directory.CreateDirectory(Below($"users/{user}"));
        Assert.Equal(Below($"users/{user}/vmm"), RuntimeRoot.Find("relative", "relative", Below("users"), _place.Runtime, user));
        Assert.Equal(Below($"vmm-{user}"), RuntimeRoot.Find(null, null, Below("none"), _place.Runtime, user));
        Assert.Equal(PrivateFiles.DirectoryMode, File.GetUnixFileMode(Below($"vmm-{user}")));
    }

    /// <summary>In /tmp anybody may have made it before.</summary>
    [Fact]
    public void A_runtime_directory_of_somebody_else_is_refused()
    {
        uint user = LibC.geteuid();
        Directory.CreateSymbolicLink(Path.Combine(_place.Runtime, $"vmm-{user}"), "/var");
        Assert.Contains("is a link", Assert.Throws<HostException>(() => RuntimeRoot.Find(null, null, "/none", _place.Runtime, user)).Message, StringComparison.Ordinal);
        string others = "/";
        if (user == 0)
        {
            others = Path.Combine(_place.Runtime, "others");
            Directory.CreateDirectory(others, PrivateFiles.DirectoryMode);
            System.Diagnostics.Process.Start("chown", ["65534", others]).WaitForExit();
        }

        Assert.Contains("another user", Assert.Throws<HostException>(() => PrivateFiles.Check(others)).Message, StringComparison.Ordinal);
    }
}
