using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Tests.Shared;
using Xunit.Abstractions;

namespace Vmm.Tests.Kvm;

/// <summary>Machines that cannot be made: whatever was opened for them until then is closed, removed, ended.</summary>
[Collection(Alone.Name)]
public sealed partial class FailedBuildTests(ITestOutputHelper output) : IDisposable
{
    private const int OpenFiles = 7;        // RLIMIT_NOFILE, <asm-generic/resource.h>

    private readonly TestGuest _guest = new(static code => code.hlt());
    private readonly string _folder = Directory.CreateTempSubdirectory("vmm-build-").FullName;

    public void Dispose()
    {
        _guest.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>With room for no further descriptor, for one, for two ... until the machine can be made: so each that is opened
    /// is refused once.</summary>
    [KvmFact]
    [NotInBochs(NotInBochsAttribute.StartsPrograms)]
    public void Each_descriptor_that_the_host_refuses_leaves_nothing_behind()
    {
        MachineSpec spec = Spec();
        Machine.Build(spec).Dispose();          // loads all that the runtime loads with the first use
        string before = Belongings();
        Rlimit saved = Limit();
        int refused = 0;
        bool isMade = false;
        try
        {
            for (int room = 0; !isMade; room++)
            {
                SetLimit(saved with { Current = LimitFor(room) });
                try
                {
                    Machine.Build(spec).Dispose();
                    isMade = true;
                }
                catch (Exception error) when (IsRefusal(error))
                {
                    refused++;
                }

                SetLimit(saved);
                GC.Collect();                       // the handle of a constructor that came no further
                GC.WaitForPendingFinalizers();
                Assert.Equal(before, Belongings());
            }
        }
        finally
        {
            SetLimit(saved);
        }

        output.WriteLine($"{refused} descriptors");
        Assert.InRange(refused, 30, 1000);
    }

    [KvmTheory]
    [NotInBochs(NotInBochsAttribute.StartsPrograms)]
    [InlineData("kernel")]
    [InlineData("initrd")]
    [InlineData("cpus")]
    [InlineData("memory")]
    [InlineData("disk")]
    [InlineData("net")]
    [InlineData("vsock")]
    [InlineData("share")]
    [InlineData("served")]
    [InlineData("slots")]
    [InlineData("command line")]
    [InlineData("initrd size")]
    public void Each_step_that_fails_leaves_nothing_behind(string what)
    {
        MachineSpec good = Spec();
        Machine.Build(good).Dispose();
        string before = Belongings();
        MachineSpec bad = what switch
        {
            "kernel" => good with { Kernel = Named("none") },
            "initrd" => good with { Initrds = [Named("none")] },
            "cpus" => good with { Cpus = 1 << 20 },
            "memory" => good with { Memory = 1UL << 46 },
            "disk" => good with { Disks = [.. good.Disks, DiskSpec.Parse(Named("none"))] },
            "net" => good with { Nets = [.. good.Nets, NetSpec.Parse("tap=lo")] },
            "vsock" => good with { Vsock = VsockSpec.Parse(Path.Combine(Named("none"), "sockets")) },
            "share" => good with { Shares = ShareSpec.WithTags([ShareSpec.Parse($"{Named("none")}:/mnt")]) },
            "served" => good with { ServedDisks = [Named("none")] },
            "slots" => good with { Disks = [.. Enumerable.Repeat(DiskSpec.Parse(good.Disks[0].Path + ",readonly"), 40)] },
            "command line" => good with { CommandLine = new string('x', 1 << 16) },
            _ => good with { Initrds = [Sparse("large", (long)good.Memory)] },
        };
        Exception? error = Record.Exception(() => Machine.Build(bad).Dispose());
        output.WriteLine($"{error?.Message}");
        Assert.True(error is not null && IsRefusal(error), $"{error}");
        Assert.Equal(before, Belongings());
    }

    private static bool IsRefusal(Exception error) => error is HostException or ErrnoException or UsageException or BootException or IOException;

    private string Named(string name) => Path.Combine(_folder, name);

    private string Sparse(string name, long length)
    {
        using FileStream file = File.Create(Named(name));
        file.SetLength(length);
        return Named(name);
    }

    /// <summary>All kinds of things that a machine opens.</summary>
    private MachineSpec Spec() => new()
    {
        Kernel = _guest.Path,
        Initrds = [Sparse("initrd", 4096)],
        Memory = 64UL << 20,
        Cpus = 2,
        Rng = true,
        Disks = [DiskSpec.Parse(Sparse("disk", 1 << 20)), DiskSpec.Parse(Sparse("base", 1 << 20) + ",ephemeral")],
        Nets = [NetSpec.Parse("user")],
        Vsock = VsockSpec.Parse(Named("sockets")),
    };

    /// <summary>What this process has: its descriptors, its mappings of KVM's, its vmm threads, its children; and the files
    /// around the sockets.</summary>
    private string Belongings()
    {
        IEnumerable<string> descriptors = Directory.EnumerateFileSystemEntries("/proc/self/fd")
            .Select(static fd => new FileInfo(fd).LinkTarget ?? "?")
            .Where(static target => Path.GetExtension(target) is not (".dll" or ".pdb") && !target.StartsWith("/proc/", StringComparison.Ordinal));
        IEnumerable<string> threads = Directory.EnumerateDirectories("/proc/self/task")
            .Select(static task => File.ReadAllText(Path.Combine(task, "comm")).Trim())
            .Where(static name => name.StartsWith("vmm-", StringComparison.Ordinal));
        IEnumerable<string> children = Directory.EnumerateDirectories("/proc/self/task")
            .SelectMany(static task => File.ReadAllText(Path.Combine(task, "children")).Split(' ', StringSplitOptions.RemoveEmptyEntries));
        IEnumerable<string> maps = File.ReadLines("/proc/self/maps").Where(static line => line.Contains("kvm", StringComparison.Ordinal));
        return $"""
            {string.Join('\n', descriptors.Select(static target => target.Split(':')[0]).Order())}
            threads: {string.Join(' ', threads)}
            children: {string.Join(' ', children)}
            maps: {string.Join('\n', maps)}
            files: {string.Join(' ', Directory.EnumerateFileSystemEntries(_folder).Where(static file => !file.EndsWith("large", StringComparison.Ordinal)).Order())}
            """;
    }

    /// <summary>The limit below which so many numbers are free.</summary>
    private static ulong LimitFor(int room)
    {
        HashSet<string> used = [.. Directory.EnumerateFileSystemEntries("/proc/self/fd").Select(static fd => Path.GetFileName(fd))];
        int number = 0;
        for (int free = 0; free < room || used.Contains($"{number}"); number++)
        {
            free += used.Contains($"{number}") ? 0 : 1;
        }

        return (ulong)number;
    }

    private static Rlimit Limit() => GetRlimit(OpenFiles, out Rlimit limit) == 0 ? limit : throw new ErrnoException("getrlimit", Marshal.GetLastPInvokeError());

    private static void SetLimit(Rlimit limit)
    {
        if (SetRlimit(OpenFiles, in limit) != 0)
        {
            throw new ErrnoException("setrlimit", Marshal.GetLastPInvokeError());
        }
    }

    private readonly record struct Rlimit(ulong Current, ulong Most);

    [LibraryImport("libc", EntryPoint = "getrlimit", SetLastError = true)]
    private static partial int GetRlimit(int resource, out Rlimit limit);

    [LibraryImport("libc", EntryPoint = "setrlimit", SetLastError = true)]
    private static partial int SetRlimit(int resource, in Rlimit limit);
}
