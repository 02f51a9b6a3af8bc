using System.Formats.Tar;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Run.Copy;

/// <summary>Takes what a guest sends into a directory. The guest is hostile: nothing lands outside, whatever the archive says.</summary>
/// <remarks>Names are taken apart and each directory on the way is looked at: one that is a link, or no directory, is refused, so that
/// neither links of the archive nor those that were there lead elsewhere. What is in the way is removed, never written through. Devices
/// are left out; bits that let a program run as another user or group are taken away; owners are kept where vmm runs as root.</remarks>
/// <param name="target">A directory, which exists.</param>
/// <param name="from">What the archive's first component is called.</param>
/// <param name="to">What it is called in the target.</param>
/// <param name="leftOut">Hears of each entry that is no file, directory or link.</param>
internal sealed class ArchiveExtractor(string target, string from, string to, Action<string> leftOut)
{
    private const int MostDirectories = 1_000_000;

    private const UnixFileMode Permissions = (UnixFileMode)0x1ff;     // without set-user-id, set-group-id and sticky

    private readonly bool _isRoot = LibC.geteuid() == 0;
    private readonly List<(string Path, UnixFileMode Mode, DateTimeOffset Time)> _directories = [];

    /// <summary>Entries that were left out for their names.</summary>
    public int NotText { get; private set; }

    /// <summary>Entries that came.</summary>
    public long Count { get; private set; }

    /// <exception cref="ArchiveException">It holds what must not be; what came before is there.</exception>
    /// <exception cref="HostException">A file cannot be written.</exception>
    public void Extract(Stream archive)
    {
        using var reader = new TarReader(archive, leaveOpen: true);
        while (Next(reader) is { } entry)
        {
            string shown = PrintableText.Of(entry.Name);
            try
            {
                Take(entry);
            }
            catch (Exception error) when (error is not ArchiveException && FileErrors.Describe(error) is { } why)
            {
                throw new HostException($"{shown}: {why}");
            }

            Count++;
        }

        // Last, and the innermost first: one that may not be written to could not be filled.
        for (int i = _directories.Count - 1; i >= 0; i--)
        {
            (string path, UnixFileMode mode, DateTimeOffset time) = _directories[i];
            File.SetUnixFileMode(path, mode);
            Directory.SetLastWriteTimeUtc(path, time.UtcDateTime);
        }
    }

    private static TarEntry? Next(TarReader reader)
    {
        try
        {
            return reader.GetNextEntry();
        }
        catch (Exception error) when (error is not ArchiveException and (InvalidDataException or EndOfStreamException or FormatException
            or ArgumentException or InvalidOperationException or NotSupportedException or OverflowException))
        {
            throw new ArchiveException("what the guest sends is no archive");
        }
    }

    private void Take(TarEntry entry)
    {
        string[] parts = PartsOf(entry.Name);
        if (parts[0] != from)
        {
            throw new ArchiveException($"{PrintableText.Of(entry.Name)}: was not asked for");
        }

        if (entry.Name.Contains(CopyNames.Lossy) || entry.LinkName.Contains(CopyNames.Lossy))
        {
            NotText++;
            leftOut($"{PrintableText.Of(entry.Name)}: {CopyNames.Why}");
            return;
        }

        string path = PathOf(parts);
        switch (entry.EntryType)
        {
            case TarEntryType.RegularFile or TarEntryType.V7RegularFile or TarEntryType.ContiguousFile:
                Clear(path);
                WriteFile(entry, path);
                break;
            case TarEntryType.Directory:
                if (!IsDirectory(path))
                {
                    Clear(path);
                    Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
                }

                Own(entry, path);
                if (_directories.Count == MostDirectories)
                {
                    throw new ArchiveException("more than a million directories");
                }

                _directories.Add((path, entry.Mode & Permissions, entry.ModificationTime));
                break;
            case TarEntryType.SymbolicLink:
                Clear(path);
                File.CreateSymbolicLink(path, entry.LinkName);
                Own(entry, path);
                break;
            case TarEntryType.HardLink:
                Link(entry, path);
                break;
            default:
                leftOut($"{PrintableText.Of(entry.Name)}: is a device or something else that is no file, directory or link");
                break;
        }
    }

    /// <summary>The components of a name; at least one.</summary>
    private static string[] PartsOf(string name)
    {
        string[] parts = [.. name.Split('/').Where(static part => part is not ("" or "."))];
        return parts.Length > 0 && !name.StartsWith('/') && !parts.Contains("..") && !name.Contains('\0', StringComparison.Ordinal)
            ? parts
            : throw new ArchiveException($"{PrintableText.Of(name)}: a name that leads elsewhere");
    }

    /// <summary>Where an entry goes. Its directories are there then, and are none but directories.</summary>
    private string PathOf(string[] parts)
    {
        string path = target;
        for (int i = 0; i < parts.Length; i++)
        {
            path = Path.Combine(path, i == 0 ? to : parts[i]);
            if (i == parts.Length - 1 || IsDirectory(path))
            {
                continue;
            }

            if (Exists(path))
            {
                throw new ArchiveException($"{PrintableText.Of(string.Join('/', parts))}: leads through what is no directory");
            }

            Directory.CreateDirectory(path);
        }

        return path;
    }

    private static bool IsDirectory(string path) => Exists(path)
        && (File.GetAttributes(path) & (FileAttributes.Directory | FileAttributes.ReparsePoint)) == FileAttributes.Directory;

    /// <summary>Is there anything, a link that leads nowhere included?</summary>
    private static bool Exists(string path) => new FileInfo(path).LinkTarget is not null || Path.Exists(path);

    /// <summary>Removes a file or a link that is in the way. All else stays: root would lose /dev/null.</summary>
    private static void Clear(string path)
    {
        if (IsDirectory(path))
        {
            throw new ArchiveException($"{PrintableText.Of(path)}: a directory is there");
        }

        if (IsSpecial(path))
        {
            throw new ArchiveException($"{PrintableText.Of(path)}: a device, pipe or socket is there");
        }

        if (Exists(path))
        {
            File.Delete(path);
        }
    }

    /// <summary>Is it there, and no file, directory or link?</summary>
    public static bool IsSpecial(string path) => HostFile.TryStatus(path, out Statx status, LibC.AT_SYMLINK_NOFOLLOW)
        && (status.Mode & LibC.S_IFMT) is var type && type != LibC.S_IFREG && type != LibC.S_IFLNK && type != LibC.S_IFDIR;

    private void WriteFile(TarEntry entry, string path)
    {
        using (var file = new FileStream(path, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            BufferSize = 0,
        }))
        {
            entry.DataStream?.CopyTo(file);
        }

        Own(entry, path);
        File.SetUnixFileMode(path, entry.Mode & Permissions);
        File.SetLastWriteTimeUtc(path, entry.ModificationTime.UtcDateTime);
    }

    private void Link(TarEntry entry, string path)
    {
        string[] parts = PartsOf(entry.LinkName);
        if (parts[0] != from)
        {
            throw new ArchiveException($"{PrintableText.Of(entry.LinkName)}: was not asked for");
        }

        string old = PathOf(parts);
        Clear(path);

        // Without AT_SYMLINK_FOLLOW: of a link it makes another name of the link.
        ErrnoException.Check(LibC.linkat(LibC.AT_FDCWD, old, LibC.AT_FDCWD, path, 0), $"link {PrintableText.Of(entry.Name)}");
    }

    private void Own(TarEntry entry, string path)
    {
        if (_isRoot)
        {
            ErrnoException.Check(LibC.lchown(path, (uint)entry.Uid, (uint)entry.Gid), $"chown {PrintableText.Of(entry.Name)}");
        }
    }
}
