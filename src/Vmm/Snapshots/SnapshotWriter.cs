using System.Diagnostics;
using Vmm.Backends.Disks;
using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Devices.Virtio.Block;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>The result of a snapshot.</summary>
/// <param name="Pause">How long the guest was stopped.</param>
/// <param name="MemoryBytes">Bytes of guest memory that were written; the rest is zero.</param>
internal sealed record SnapshotReport(TimeSpan Pause, ulong MemoryBytes);

/// <summary>How a machine is saved.</summary>
internal sealed record SnapshotOptions
{
    /// <summary>For how long the host may take to finish requests in flight.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The user had paused it: it stays so.</summary>
    public bool IsPaused { get; init; }

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
    /// <summary>The guest is stopped while its disks are flushed and its memory is copied to the page cache; it runs again
    /// while the files are made durable.</summary>
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
        if (spec.Shares.Count > 0 || spec.ServedDisks.Count > 0 || spec.ServedNets.Count > 0)
        {
            throw new UsageException("a machine with --share, --vhost-user-blk or --vhost-user-net cannot be saved: part of its state is in "
                + "another program");
        }

        if (machine.Guest is not null)
        {
            throw new UsageException("a machine of 'vmm run' cannot be saved yet: what its command has open on the host would be lost");
        }
    }

    private static SnapshotReport Write(Machine machine, PartialDirectory files, string version, SnapshotOptions options)
    {
        long begin = Stopwatch.GetTimestamp();
        if (!machine.TryQuiesce(options.Patience))
        {
            throw new HostException($"the machine has ended, or the host did not finish its requests within {options.Patience.TotalSeconds:0} s",
                "nothing was saved; try again");
        }

        bool isHeld = true;
        try
        {
            FlushDisks(machine);
            byte[] state = StateWriter.Save(machine.State);
            HostNeeds host = HostNeeds.Of(machine.Vcpus[0].Vcpu, machine.Kvm);
            SavedConfiguration record = SavedConfiguration.Of(machine);
            List<(string Name, FileDescriptor File)> large = [];
            try
            {
                CopyOverlays(machine, files, large);
                FileDescriptor memory = Created(files, SnapshotFiles.Memory, large);
                byte[] checksums = MemoryChecksums.ToBytes(MemoryFile.Write(memory, machine.Ram, out ulong written));
                TimeSpan pause = Stopwatch.GetElapsedTime(begin);
                if (!options.Ends)
                {
                    GoOn(machine, options.IsPaused);
                    isHeld = false;
                }

                large.ForEach(file => files.Sync(file.File, file.Name));
                files.CreateFile(SnapshotFiles.State, state);
                files.CreateFile(SnapshotFiles.MemoryChecksums, checksums);
                foreach ((string name, byte[] content) in options.Extra)
                {
                    files.CreateFile(name, content);
                }

                var head = new SnapshotHead
                {
                    Vmm = version,
                    Machine = record,
                    Host = host,
                    State = FileRecord.Of(state),
                    Checksums = FileRecord.Of(checksums),
                };
                files.CreateFile(SnapshotFiles.Head, head.ToBytes());
                files.Complete();
                if (options.Ends)
                {
                    isHeld = false;
                    machine.End(MachineEnd.Saved);
                }

                return new SnapshotReport(pause, written);
            }
            finally
            {
                large.ForEach(static file => file.File.Dispose());
            }
        }
        finally
        {
            if (isHeld)
            {
                GoOn(machine, options.IsPaused);
            }
        }
    }

    private static void GoOn(Machine machine, bool isPaused)
    {
        if (isPaused)
        {
            machine.Loop.Release();
        }
        else
        {
            machine.Resume();
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

    /// <summary>An ephemeral overlay has no name and ends with its machine.</summary>
    private static void CopyOverlays(Machine machine, PartialDirectory files, List<(string Name, FileDescriptor File)> created)
    {
        for (int i = 0; i < machine.Disks.Count; i++)
        {
            if (machine.Spec.Disks[i].Ephemeral && machine.Disks[i].Disk.Backend.File is HostFile overlay)
            {
                using FileDescriptor from = overlay.Duplicate();
                FileExtents.Copy(from, Created(files, SnapshotFiles.Overlay(i), created));
            }
        }
    }
}
