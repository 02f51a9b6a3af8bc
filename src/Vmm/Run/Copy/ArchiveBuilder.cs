using System.Formats.Tar;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Run.Copy;

/// <summary>Puts a file or tree of this host into an archive for a guest: modes, owners (by number), times and links are kept. What
/// changes meanwhile is filled up or cut; sockets, pipes and devices are left out, and names that are not UTF-8, which the library cannot
/// write.</summary>
/// <param name="leftOut">Hears of each that is left out, and why.</param>
internal sealed class ArchiveBuilder(Stream archive, Action<string> leftOut) : IDisposable
{
    // Long names and large numbers without extended headers, which busybox does not read all of.
    private readonly TarWriter _writer = new(archive, TarEntryFormat.Gnu, leaveOpen: true);
    private readonly Dictionary<(ulong Device, ulong Inode), string> _links = [];

    /// <summary>Files and directories that were left out for their names.</summary>
    public int NotText { get; private set; }

    /// <param name="path">On this host.</param>
    /// <param name="name">What it is called in the archive.</param>
    /// <exception cref="HostException">It is not there, or cannot be read.</exception>
    public void Add(string path, string name)
    {
        try
        {
            AddOne(path, name);
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new HostException($"{path}: {why}");
        }
    }

    public void Dispose() => _writer.Dispose();

    private void AddOne(string path, string name)
    {
        var file = new FileInfo(path);
        if (file.LinkTarget is { } leadsTo)
        {
            if (leadsTo.Contains(CopyNames.Lossy))
            {
                LeaveOut(path);
                return;
            }

            Write(new GnuTarEntry(TarEntryType.SymbolicLink, name) { LinkName = leadsTo }, path, file);
            return;
        }

        if (Directory.Exists(path))
        {
            Write(new GnuTarEntry(TarEntryType.Directory, name + "/"), path, new DirectoryInfo(path));
            foreach (string each in Directory.EnumerateFileSystemEntries(path).Order(StringComparer.Ordinal))
            {
                AddChild(each, $"{name}/{Path.GetFileName(each)}");
            }

            return;
        }

        if (!HostFile.TryStatus(path, out Statx status) || (status.Mode & LibC.S_IFMT) != LibC.S_IFREG)
        {
            if (!file.Exists)
            {
                throw new FileNotFoundException(null, path);
            }

            leftOut($"{path}: is no file, directory or link");
            return;
        }

        AddFile(path, name, file, status);
    }

    /// <summary>What has vanished since it was listed is left out.</summary>
    private void AddChild(string path, string name)
    {
        try
        {
            AddOne(path, name);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            if (Path.GetFileName(path).Contains(CopyNames.Lossy))
            {
                LeaveOut(path);
            }
            else
            {
                leftOut($"{path}: has vanished");
            }
        }
    }

    private void LeaveOut(string path)
    {
        NotText++;
        leftOut($"{path}: {CopyNames.Why}");
    }

    private void AddFile(string path, string name, FileInfo file, in Statx status)
    {
        (ulong, ulong) identity = (((ulong)status.DeviceMajor << 32) | status.DeviceMinor, status.Inode);
        if (status.Links > 1 && !_links.TryAdd(identity, name))
        {
            Write(new GnuTarEntry(TarEntryType.HardLink, name) { LinkName = _links[identity] }, path, file);
            return;
        }

        using var content = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        using var exact = new ExactStream(content, content.Length);
        Write(new GnuTarEntry(TarEntryType.RegularFile, name) { DataStream = exact }, path, file);
        if (exact.WasCut)
        {
            leftOut($"{path}: has become shorter meanwhile; it ends in zeros");
        }
    }

    private void Write(GnuTarEntry entry, string path, FileSystemInfo file)
    {
        if (entry.EntryType != TarEntryType.SymbolicLink)
        {
            entry.Mode = file.UnixFileMode;
        }

        entry.ModificationTime = file.LastWriteTimeUtc;
        if (TryOwner(path, out uint user, out uint group))
        {
            (entry.Uid, entry.Gid) = ((int)user, (int)group);
        }

        _writer.WriteEntry(entry);
    }

    private static bool TryOwner(string path, out uint user, out uint group)
    {
        bool isThere = HostFile.TryStatus(path, out Statx status, LibC.AT_SYMLINK_NOFOLLOW);
        (user, group) = (status.UserId, status.GroupId);
        return isThere;
    }
}

/// <summary>So many bytes of a file, whatever becomes of it meanwhile.</summary>
internal sealed class ExactStream(Stream file, long length) : SequentialStream
{
    private long _done;

    /// <summary>It had fewer; zeros came instead.</summary>
    public bool WasCut { get; private set; }

    public override bool CanRead => true;

    public override bool CanSeek => true;       // so that its length is asked for

    public override long Length => length;

    public override long Position
    {
        get => _done;
        set => throw new NotSupportedException();
    }

    public override int Read(Span<byte> buffer)
    {
        Span<byte> wanted = buffer[..(int)Math.Min(buffer.Length, length - _done)];
        int got = wanted.IsEmpty ? 0 : file.Read(wanted);
        if (got == 0 && !wanted.IsEmpty)
        {
            WasCut = true;
            wanted.Clear();
            got = wanted.Length;
        }

        _done += got;
        return got;
    }
}
