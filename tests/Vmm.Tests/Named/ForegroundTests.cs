using System.Diagnostics;
using Vmm.Host;
using Vmm.Named;

namespace Vmm.Tests.Named;

/// <summary>Machines of the foreground: known by a name as long as they run.</summary>
public sealed class ForegroundTests : IDisposable
{
    private readonly TemporaryStore _place = new();

    public void Dispose() => _place.Dispose();

    [Fact]
    public void One_that_was_killed_leaves_its_name_free()
    {
        _place.Add("front", static record => record with { Foreground = true });
        _place.Add("back");
        (MachineFolder running, FileDescriptor life) = _place.Store.TryCreate(_place.Record("runs") with { Foreground = true })!.Value;
        using (life)
        {
            Assert.True(running.Read().Foreground);
            Assert.Equal([true, false, false, false], ((string[])["front", "back", "runs", "none"]).Select(_place.Store.TryRemoveDeadForeground));
        }

        Assert.Equal(["back", "runs"], _place.Store.List().Select(static each => each.Name));
    }

    [Fact]
    public async Task Who_waits_gets_the_exit_code_of_one_that_is_removed_at_its_end()
    {
        using var process = Process.Start("sleep", "1000");
        (MachineFolder folder, FileDescriptor life) = _place.Store.TryCreate(
            _place.Record("front") with { Foreground = true, Pid = process.Id, Boot = MachineRecord.BootOfHost })!.Value;
        using (life)
        {
            Task<int?> waiting = Task.Run(() => MachineActions.Wait(folder, stop: -1));
            Assert.True(SpinWait.SpinUntil(HasPidfd, TimeSpan.FromMinutes(1)));
            MachineFolder.WriteEnd(life, 7);
            _place.Store.RemoveOwn(folder);
            process.Kill();
            Assert.Equal(7, await waiting);
            Assert.Empty(_place.Store.List());
        }
    }

    [Fact]
    public void What_is_for_machines_of_the_background_is_refused()
    {
        MachineFolder folder = _place.Add("front", static record => record with { Foreground = true });
        var actions = new MachineActions(_place.Store, static (_, _, _) => { });
        Action[] refused =
        [
            () => actions.Start(folder),
            () => MachineActions.CheckStays(folder),
            () => MachineActions.CheckHasLog(folder),
            () => MachineActions.Limit(folder, static limits => limits),
        ];
        Assert.All(refused, each => Assert.StartsWith("front: it ran in the foreground; ", Assert.Throws<HostException>(each).Message, StringComparison.Ordinal));
    }

    private static bool HasPidfd() => Directory.EnumerateFiles("/proc/self/fd").Any(static path => new FileInfo(path).LinkTarget?.Contains("pidfd", StringComparison.Ordinal) == true);
}
