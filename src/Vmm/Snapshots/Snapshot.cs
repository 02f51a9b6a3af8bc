using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Kvm;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Snapshots;

/// <summary>A snapshot's directory, for restoring. Its content is not trusted.</summary>
internal sealed partial class Snapshot : IRewindTarget, IDisposable
{
    private readonly FileDescriptor _memory;
    private MemoryWay _way;

    private Snapshot(string directory, SnapshotHead head, byte[] state, uint[] checksums, PageSet? pages, FileDescriptor memory, bool isTrusted)
    {
        Directory = directory;
        Head = head;
        State = state;
        Checksums = checksums;
        Pages = pages;
        _memory = memory;
        IsTrusted = isTrusted;
    }

    /// <summary>As it was given.</summary>
    public string Directory { get; }

    /// <inheritdoc/>
    public string Name => Directory;

    public SnapshotHead Head { get; }

    /// <summary>The machine that was restored from it has other disks.</summary>
    public bool HasOtherDisks { get; private set; }

    /// <summary>It belongs to this user, or to root.</summary>
    public bool IsTrusted { get; }

    /// <inheritdoc/>
    public ReadOnlyMemory<byte> State { get; }

    /// <summary>A checksum for each chunk of the whole memory: <see cref="MemoryChecksums"/>.</summary>
    public uint[] Checksums { get; }

    /// <summary>The pages that a diff has; null where it is whole.</summary>
    public PageSet? Pages { get; }

    /// <summary>Opens a whole one.</summary>
    /// <param name="way">How a machine gets its memory from it.</param>
    /// <exception cref="UsageException">It is no snapshot, a diff, or damaged; the message names the field.</exception>
    public static Snapshot Open(string directory, MemoryWay way = MemoryWay.Map)
    {
        Snapshot snapshot = OpenAny(directory);
        snapshot._way = way;
        if (snapshot.Head.Base is not { } record)
        {
            return snapshot;
        }

        snapshot.Dispose();
        throw new UsageException($"{directory}: is only a diff to {PrintableText.Of(record.Directory)}; "
            + $"'vmm snapshot merge {PrintableText.Of(record.Directory)} {directory} NEW' makes a whole one of the two");
    }

    /// <summary>Opens a whole one or a diff.</summary>
    /// <inheritdoc cref="Open"/>
    public static Snapshot OpenAny(string directory)
    {
        string path = Path.Combine(directory, SnapshotFiles.Head);
        byte[] headBytes = Read(path, SnapshotHead.MostBytes, out uint owner);
        SnapshotHead head;
        try
        {
            head = SnapshotHead.Parse(headBytes);
        }
        catch (StateException error)
        {
            throw Wrong(path, error);
        }

        byte[] state = Read(directory, SnapshotFiles.State, head.State);
        uint[] checksums = MemoryChecksums.FromBytes(Read(directory, SnapshotFiles.MemoryChecksums, head.Checksums));
        PageSet? pages = head.Base is { } record ? ReadPageSet(directory, record.Pages, head.Machine.Memory) : null;
        FileDescriptor memory = OpenFile(Path.Combine(directory, SnapshotFiles.Memory), out Statx status);
        if (status.Size != head.Machine.Memory)
        {
            memory.Dispose();
            throw new UsageException($"{Path.Combine(directory, SnapshotFiles.Memory)}: has {status.Size} bytes, and the machine's memory "
                + $"{head.Machine.Memory}: it is damaged");
        }

        uint me = LibC.geteuid();
        return new Snapshot(directory, head, state, checksums, pages, memory, isTrusted: owner == me || owner == 0);
    }

    /// <summary>Makes the machine, which continues where it was saved.</summary>
    /// <param name="with">Names of this host, instead of those of the snapshot.</param>
    /// <param name="adjust">Applies further options of the user.</param>
    /// <param name="guest">Owned from now on; for a machine with vmm's agent in it.</param>
    /// <exception cref="UsageException">The snapshot is damaged, or does not fit to what was given or to this host; with the
    /// field.</exception>
    /// <exception cref="HostException">The host cannot.</exception>
    public Machine Restore(Replacements with, Func<MachineSpec, MachineSpec>? adjust = null, IMachineGuest? guest = null)
    {
        MachineSpec spec = Head.Machine.ToSpec(with);
        CheckNames(with);
        HasOtherDisks = with.Disks.Count > 0;
        using CarriedState overlays = HasOtherDisks ? new CarriedState() : CopyOverlays(spec);
        try
        {
            return Machine.Restore(adjust?.Invoke(spec) ?? spec, this, carried: overlays, guest: guest);
        }
        catch (StateException error)
        {
            throw Wrong(Path.Combine(Directory, error.Field.StartsWith("host.", StringComparison.Ordinal) ? SnapshotFiles.Head : SnapshotFiles.State), error);
        }
    }

    /// <inheritdoc/>
    public void CheckHost(Vcpu vcpu, KvmSystem kvm) => Head.Host.Check(vcpu, kvm);

    public void Dispose() => _memory.Dispose();

    private static PageSet ReadPageSet(string directory, FileRecord expected, ulong memory) =>
        PageSet.FromBytes(Read(directory, SnapshotFiles.Pages, expected), memory)
            ?? throw new UsageException($"{Path.Combine(directory, SnapshotFiles.Pages)}: is damaged: it has pages that the memory has not");

    private static UsageException Wrong(string path, StateException error) => new($"{path}: {PrintableText.Of(error.Message)}");

    /// <summary>A guest has cached data of its disks, so they must be unchanged.</summary>
    private void CheckNames(Replacements with)
    {
        bool usesNames = (with.Disks.Count == 0 && Head.Machine.Disks.Count > 0) || (with.Nets.Count == 0 && Head.Machine.Nets.Count > 0)
            || (with.Vsock is null && Head.Machine.Vsock.Length > 0) || (with.Ports.Count == 0 && Head.Machine.Ports.Count > 0)
            || with.Shares.Select(static share => share.GuestPath).Distinct().Count() < Head.Machine.Shares.Count;
        if (usesNames && !IsTrusted)
        {
            throw new UsageException($"{Directory}: is somebody else's, so no file, directory, network or socket is opened that it names: give --disk, "
                + "--net, --vsock, --share and --port for all that the machine has");
        }

        for (int i = 0; with.Disks.Count == 0 && i < Head.Machine.Disks.Count; i++)
        {
            foreach (FileIdentity file in Head.Machine.Disks[i].Files)
            {
                if (!file.IsUnchanged)
                {
                    throw new UsageException($"disk {i}, {PrintableText.Of(file.Path)}: is missing, another file, or was written to since the snapshot, whose "
                        + "guest would not know; put it back as it was, or give a copy of then with --disk");
                }
            }
        }
    }

    /// <inheritdoc/>
    public CarriedState CopyOverlays(MachineSpec spec)
    {
        var overlays = new CarriedState();
        try
        {
            for (int i = 0; i < Head.Machine.Disks.Count; i++)
            {
                if (Head.Machine.Disks[i].HasOverlay)
                {
                    string path = Path.Combine(Directory, SnapshotFiles.Overlay(i));
                    using FileDescriptor saved = OpenFile(path, out _);
                    overlays.Overlays[i] = DiskFiles.CreateNameless();
                    Copy(saved, overlays.Overlays[i], path);
                }
            }

            return overlays;
        }
        catch
        {
            overlays.Dispose();
            throw;
        }
    }

    private static void Copy(FileDescriptor saved, FileDescriptor to, string path)
    {
        try
        {
            FileExtents.Copy(saved, to);
        }
        catch (IOException error)
        {
            throw new HostException($"{path}: {FileErrors.Describe(error)}: it cannot be copied");
        }
    }

    private static byte[] Read(string directory, string name, FileRecord expected)
    {
        string path = Path.Combine(directory, name);
        byte[] content = Read(path, StateReader.MostBytes, out _);
        return FileRecord.Of(content) == expected
            ? content
            : throw new UsageException($"{path}: is damaged: it is not what {SnapshotFiles.Head} says of it");
    }

    private static byte[] Read(string path, int most, out uint owner)
    {
        using FileDescriptor file = OpenFile(path, out Statx status);
        owner = status.UserId;
        if (status.Size > (ulong)most)
        {
            throw new UsageException($"{path}: has {status.Size} bytes; the most is {most}");
        }

        using Microsoft.Win32.SafeHandles.SafeFileHandle handle = file.Borrow();
        byte[] content = new byte[status.Size];
        try
        {
            int done = 0;
            while (done < content.Length && RandomAccess.Read(handle, content.AsSpan(done), done) is > 0 and int read)
            {
                done += read;
            }

            return content[..done];
        }
        catch (IOException error)
        {
            throw new HostException($"{path}: {FileErrors.Describe(error)}");
        }
    }

    private static FileDescriptor OpenFile(string path, out Statx status)
    {
        // O_NONBLOCK: a named pipe would wait for a writer.
        int number = LibC.open(path, LibC.O_RDONLY | LibC.O_CLOEXEC | LibC.O_NONBLOCK | LibC.O_NOCTTY, 0);
        if (number < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            throw FileErrors.IsHostsFault(errno)
                ? new HostException($"{path}: {FileErrors.Describe(errno)}")
                : new UsageException($"{path}: {FileErrors.Describe(errno)}; 'vmm snapshot' makes a directory with all that is needed");
        }

        var file = new FileDescriptor(number);
        status = HostFile.Status(file, path);
        if ((status.Mode & LibC.S_IFMT) == LibC.S_IFREG)
        {
            return file;
        }

        file.Dispose();
        throw new UsageException($"{path}: not a regular file");
    }
}
