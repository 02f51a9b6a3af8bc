using System.Diagnostics;
using Vmm.Backends.Disks;
using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>The result of a snapshot.</summary>
/// <param name="Pause">How long the guest was stopped, all together.</param>
/// <param name="Stops">How often.</param>
/// <param name="LongestPause">The longest of them.</param>
/// <param name="Held">How long its programs were, from <see cref="SnapshotOptions.Hold"/> to <see cref="SnapshotOptions.WentOn"/>.</param>
/// <param name="MemoryBytes">Bytes of guest memory that were written; the rest is zero.</param>
/// <param name="Note">What could not be done as asked, for the user; null for nothing.</param>
internal sealed record SnapshotReport(TimeSpan Pause, int Stops, TimeSpan LongestPause, TimeSpan Held, ulong MemoryBytes, string? Note = null);

/// <summary>How a machine is saved.</summary>
internal sealed record SnapshotOptions
{
    /// <summary>For how long the host may take to finish requests in flight.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The user had paused it: it stays so.</summary>
    public bool IsPaused { get; init; }

    /// <summary>Its vCPUs stay still once it is saved: the caller ends it.</summary>
    public bool StaysStill { get; init; }

    /// <summary>Memory is copied while the guest runs, and what it wrote to meanwhile once more when it stands still.</summary>
    public bool IsLive { get; init; }

    /// <summary>Has the guest's programs stand still, where they are to: called before the last stop, on the thread that saves. May throw
    /// <see cref="HostException"/>.</summary>
    public Action? Hold { get; init; }

    /// <summary>Called when the machine goes on; not where it stays still or something fails.</summary>
    public Action? WentOn { get; init; }

    /// <summary>What the machine was saved to before; null where nobody will ask again.</summary>
    public WrittenSince? Since { get; init; }

    /// <summary>Save only what differs from this one; null for all.</summary>
    public Snapshot? Base { get; init; }

    /// <summary>The machine ends once it is saved, and its disks stay as they were then.</summary>
    public bool Ends { get; init; }

    /// <summary>Waits until it is on the disk.</summary>
    public bool IsDurable { get; init; } = true;

    /// <summary>Files to put beside it.</summary>
    public IReadOnlyList<(string Name, byte[] Content)> Extra { get; init; } = [];
}

/// <summary>Saves a machine that runs into a directory.</summary>
internal static class SnapshotWriter
{
    /// <summary>The guest is stopped while its disks are flushed and its memory is copied to the page cache (with
    /// <see cref="SnapshotOptions.IsLive"/> only the last of it); it runs again while the files are made durable.</summary>
    /// <param name="machine">A running machine. Not from one of its vCPUs' threads or its loop's; one snapshot at a time.</param>
    /// <param name="directory">Must not exist.</param>
    /// <param name="version">vmm's own.</param>
    /// <exception cref="UsageException">The directory is there already.</exception>
    /// <exception cref="HostException">The host cannot: no room, for instance. The machine goes on, and nothing is left behind.</exception>
    /// <exception cref="NotSupportedException">Part of its state is in another program (<see cref="CheckKind"/>).</exception>
    public static SnapshotReport Write(Machine machine, string directory, string version, SnapshotOptions options)
    {
        using PartialDirectory files = PartialDirectory.Create(directory, options.IsDurable);
        try
        {
            return Write(machine, files, version, options);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new HostException($"{directory}: {FileErrors.Describe(error)}: the snapshot was not made");
        }
    }

    /// <summary>For a machine that a user wants to be saved.</summary>
    /// <exception cref="UsageException">It is of a kind that cannot.</exception>
    public static void CheckKind(Machine machine)
    {
        MachineSpec spec = machine.Spec;
        OtherPrograms.Check(machine, "saved");
        if (spec.MostForks is not null)
        {
            throw new UsageException("a machine with --fork-port cannot be saved: no vmm would answer the port where it is restored");
        }

        if (spec.Disks.Any(static disk => disk.IsOfThisProcess))
        {
            throw new UsageException("a machine whose root vmm has packed into an image cannot be saved: the image is in that vmm alone; make "
                + "one with 'vmm disk', and give that as root");
        }
    }

    private static SnapshotReport Write(Machine machine, PartialDirectory files, string version, SnapshotOptions options)
    {
        machine.Ram.Server?.Complete();
        WrittenSince since = options.Since ?? new WrittenSince(machine.Ram);
        CheckBase(machine, since, options.Base);
        List<(string Name, FileDescriptor File)> large = [];
        using var still = new Standstill(machine, options.Patience, options.IsPaused);
        try
        {
            using var copy = new MemoryCopy(
                Created(files, SnapshotFiles.Memory, large), machine.Ram, options.Base?.Checksums.AsSpan().ToArray());
            var passes = new MemoryPasses(machine, copy, since, options.Base);
            string? obstacle = options.IsLive ? passes.RunLive(still) : null;
            long held = Stopwatch.GetTimestamp();
            options.Hold?.Invoke();
            still.Begin();
            FlushDisks(machine);
            byte[] state = StateWriter.Save(machine.State);
            HostNeeds host = HostNeeds.Of(machine.Vcpus[0].Vcpu, machine.Kvm);
            SavedConfiguration described = SavedConfiguration.Of(machine);
            CopyOverlays(machine, files, large);
            passes.Finish();
            bool isTracked = machine.Ram.IsTracked;
            if (!options.Ends)
            {
                still.End(options.StaysStill);
            }

            TimeSpan programs = Stopwatch.GetElapsedTime(held);
            if (!options.Ends && !options.StaysStill)
            {
                options.WentOn?.Invoke();       // before anything is made durable
            }

            large.ForEach(file => files.Sync(file.File, file.Name));
            byte[] checksums = MemoryChecksums.ToBytes(copy.Checksums);
            files.CreateFile(SnapshotFiles.State, state);
            files.CreateFile(SnapshotFiles.MemoryChecksums, checksums);
            BaseRecord? record = null;
            if (options.Base is { } from)
            {
                byte[] pages = copy.Pages.ToBytes();
                files.CreateFile(SnapshotFiles.Pages, pages);
                record = new BaseRecord(Path.GetFullPath(from.Directory), from.Head.Id, from.Head.Checksums, FileRecord.Of(pages));
            }

            foreach ((string name, byte[] content) in options.Extra)
            {
                files.CreateFile(name, content);
            }

            var head = new SnapshotHead
            {
                Vmm = version,
                Id = SnapshotHead.NewId(),
                Machine = described,
                Host = host,
                State = FileRecord.Of(state),
                Checksums = FileRecord.Of(checksums),
                Base = record,
            };
            files.CreateFile(SnapshotFiles.Head, head.ToBytes());
            files.Complete();
            since.Begin(head.Id, files.Name, isTracked);
            if (options.Ends)
            {
                still.End(MachineEnd.Saved);
            }

            return new SnapshotReport(
                still.Total, still.Count, still.Longest, programs, copy.Written, obstacle is null ? null : $"--live: {obstacle}; the guest stood still instead");
        }
        finally
        {
            still.Dispose();        // before files are closed, which may take a while
            large.ForEach(static file => file.File.Dispose());
        }
    }

    private static void CheckBase(Machine machine, WrittenSince since, Snapshot? from)
    {
        if (from is null)
        {
            return;
        }

        if (from.Head.Id.Length == 0)
        {
            throw new UsageException($"{from.Directory}: was written by an older vmm, which did not give snapshots a number: save a whole one first");
        }

        if (from.Head.Machine.Memory != machine.Spec.Memory)
        {
            throw new UsageException($"{from.Directory}: is of another machine, with other memory");
        }

        if (from.Head.Base is not null && since.Pages(from.Head.Id) is null)
        {
            throw new UsageException($"{from.Directory}: is itself a diff, and the machine does not know what was written to since: "
                + "give a whole snapshot, or one that 'vmm snapshot merge' made");
        }
    }

    private static FileDescriptor Created(PartialDirectory files, string name, List<(string Name, FileDescriptor File)> created)
    {
        FileDescriptor file = files.CreateFile(name);
        created.Add((name, file));
        return file;
    }

    private static void FlushDisks(Machine machine)
    {
        foreach ((VirtioBlock _, OpenDisk disk) in machine.Disks)
        {
            if (!disk.Backend.Flush())
            {
                throw new HostException($"{disk.Backend.File.Path}: the disk cannot be flushed: the snapshot was not made");
            }
        }
    }

    private static void CopyOverlays(Machine machine, PartialDirectory files, List<(string Name, FileDescriptor File)> created)
    {
        foreach (int disk in Overlays.Of(machine.Spec))
        {
            using FileDescriptor? from = Overlays.Open(machine, disk);
            if (from is not null)
            {
                FileExtents.Copy(from, Created(files, SnapshotFiles.Overlay(disk), created));
            }
        }
    }
}
