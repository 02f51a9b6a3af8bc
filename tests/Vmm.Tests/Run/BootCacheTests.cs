using Iced.Intel;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Cache;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Run;

/// <summary>The boot cache's entries, of a small machine that needs no boot.</summary>
[Collection(Alone.Name)]
public sealed class BootCacheTests : IDisposable
{
    private const string Version = "0.1.0";
    private const ulong Ready = 0x20_0000;

    private static readonly BootKey Key = new("kernel one\n", new BootOrigin().ToString());

    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-boots-").FullName;
    private readonly BootCache _cache;
    private readonly TestGuest _guest = new(static code =>
    {
        code.mov(rdi, Ready);
        code.inc(__qword_ptr[rdi]);
        code.HaltForEver();
    });

    public BootCacheTests() => _cache = new BootCache(Path.Combine(_folder, "boots"));

    private string[] Directories => Directory.GetDirectories(Path.Combine(_folder, "boots"));

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [KvmFact]
    public void An_entry_is_used_so_often_and_then_another_one_boots()
    {
        using Machine machine = Build();
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Ready, 1);
        var entries = new CacheEntries(1, Uses: 3);
        Assert.Null(_cache.Find(Key, entries, out int place, out string? why));
        Assert.Equal((0, null), (place, why));
        _cache.Add(Key, place, machine, Version);
        for (ulong use = 1; use <= 3; use++)
        {
            using FoundBoot? found = _cache.Find(Key, entries, out _, out why);
            Assert.Equal((use, null), (found?.Uses, why));
        }

        CachedBoot listed = Assert.Single(_cache.List());
        Assert.Equal((3UL, false, (_guest.Path, 32UL << 20)), (listed.Uses, listed.IsStale, listed.Describe()));
        Assert.InRange(DateTime.UtcNow - listed.Used, TimeSpan.FromSeconds(-5), TimeSpan.FromMinutes(5));
        Assert.Null(_cache.Find(Key, entries, out place, out why));
        Assert.Equal((0, "the one that had booted was used 3 times"), (place, why));
        Assert.Empty(Directories);
        _cache.Add(Key, place, machine, Version);
        using FoundBoot? anew = _cache.Find(Key, entries, out _, out _);
        Assert.Equal(1UL, anew?.Uses);

        // Another key is another machine, and for ever is for ever.
        Assert.Null(_cache.Find(Key with { Text = "kernel two\n" }, entries, out _, out _));
        for (int use = 0; use < 5; use++)
        {
            _cache.Find(Key, new CacheEntries(1, Uses: 0), out _, out _)!.Dispose();
        }
    }

    /// <summary>Each of them boots once, and then they are taken by chance: 60 times the same of two is one in 10^18.</summary>
    [KvmFact]
    public void Of_several_entries_each_is_used()
    {
        using Machine machine = Build();
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Ready, 1);
        var entries = new CacheEntries(2, Uses: 0);
        Assert.Null(_cache.Find(Key, entries, out int place, out _));
        _cache.Add(Key, place, machine, Version);
        Assert.Null(_cache.Find(Key, entries, out place, out string? why));
        Assert.Equal((1, "1 of 2 that are to be kept have booted"), (place, why));
        _cache.Add(Key, place, machine, Version);
        var found = new HashSet<string>();
        for (int use = 0; use < 60; use++)
        {
            using FoundBoot? boot = _cache.Find(Key, entries, out _, out why);
            Assert.Null(why);
            found.Add(boot!.Path);
        }

        Assert.Equal(Directories.Order(), found.Order());

        // With fewer the rest stays where it is; nothing boots.
        _cache.Find(Key, new CacheEntries(1), out _, out _)!.Dispose();
        Assert.Equal(2, _cache.List().Count);
    }

    /// <summary>What one vmm goes on from stays whole while others delete and make the same entry, and none finds half of one.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.TakesTooLong)]
    public void Many_vmms_at_once_find_whole_ones_or_none()
    {
        using Machine machine = Build();
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Ready, 1);
        var entries = new CacheEntries(2, Uses: 2);
        int found = 0, damaged = 0, added = 0;
        bool isOver = false;
        Thread[] finders = [.. Enumerable.Range(0, 3).Select(_ => new Thread(() =>
        {
            while (!Volatile.Read(ref isOver))
            {
                using FoundBoot? boot = _cache.Find(Key, entries, out int _, out string? _);
                if (boot is not null)
                {
                    Interlocked.Increment(ref found);
                    using FileDescriptor? memory = boot.Snapshot.MapMemory();
                    Interlocked.Add(ref damaged, HostFile.Status(memory!, "memory").Size == 32UL << 20 ? 0 : 1);
                    BootCache.Discard(boot);
                }
            }
        }))];
        Array.ForEach(finders, static thread => thread.Start());
        while (added < 60)
        {
            _cache.Add(Key, added++ % 2, machine, Version);
        }

        Volatile.Write(ref isOver, true);
        Array.ForEach(finders, static thread => thread.Join());
        Assert.Equal(0, damaged);
        Assert.InRange(found, 1, 2 * added);       // each was used twice at most
        foreach (CachedBoot boot in _cache.List())
        {
            Assert.Equal(32UL << 20, boot.Describe().Memory);
        }

        _cache.Prune(0);
        Assert.Empty(Directories);
    }

    [KvmFact]
    public void Stale_entries_go_first_and_then_the_oldest_until_the_rest_is_small_enough()
    {
        using Machine machine = Build();
        using var run = new RunningMachine(machine);
        machine.WaitForNumber(Ready, 1);
        for (int place = 0; place < 4; place++)
        {
            _cache.Add(place == 1 ? Key with { Origin = "host another\n" } : Key, place, machine, Version);
        }

        // (Adding the next one has deleted that.)
        Assert.Equal(["0", "2", "3"], Directories.Select(static each => each[^1..]).Order());
        foreach (string directory in Directories)
        {
            File.WriteAllText(Path.Combine(directory, CachedBoot.UsesFile), "..");
        }

        string first = Directories.Single(static each => each.EndsWith("-0", StringComparison.Ordinal));
        File.SetLastWriteTimeUtc(Path.Combine(first, CachedBoot.UsesFile), DateTime.UtcNow - TimeSpan.FromDays(2));
        File.WriteAllText(Path.Combine(Directories.Single(static each => each.EndsWith("-3", StringComparison.Ordinal)), CachedBoot.OriginFile), "host x\n");
        ulong all = 0;
        foreach (CachedBoot boot in _cache.List())
        {
            Assert.True(boot.Bytes > 0);
            all += boot.Bytes;
        }

        Assert.Equal(["3"], _cache.Prune(all).Select(static boot => boot.Directory[^1..]));
        Assert.Equal(["0"], _cache.Prune(_cache.List()[0].Bytes).Select(static boot => boot.Directory[^1..]));
        Assert.Single(Directories);

        // One that is being written is no entry; one that a killed vmm left is.
        Directory.CreateDirectory(Path.Combine(_folder, "boots", "0-1.partial"));
        Assert.Equal(2, _cache.List().Count);
        Directory.CreateDirectory(Path.Combine(_folder, "boots", "0-1.77.gone"));
        Assert.Equal(3, _cache.Prune(0).Count);
        Assert.Empty(Directories);
    }

    private Machine Build() => Machine.Build(new MachineSpec { Kernel = _guest.Path, Memory = 32UL << 20 });
}
