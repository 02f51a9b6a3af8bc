using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using Vmm.Backends.Disks;
using Vmm.Host;

namespace Vmm.Run.Roots;

/// <summary>A directory or an archive, packed into an image file without a name, which disappears when vmm ends.
/// </summary>
internal sealed class PackedRoot : IDisposable
{
    /// <summary>$1 the directory. Only the file system that it is on: a bind mount leaves out what is mounted below.</summary>
    /// <remarks>Blocks are of the host's size and 1 KiB of inode, name and indirect blocks for each file is more than any
    /// took; the image is sparse, so that the GiB for what the guest writes costs nothing.</remarks>
    private const string DirectoryScript = """
        set -e
        PATH=$PATH:/usr/sbin:/sbin
        for stage in /mnt /media /srv /tmp ''; do [ -d "$stage" ] && break; done
        [ -n "$stage" ] || { echo 'no directory to mount it on: /mnt, /media, /srv or /tmp' >&2; exit 1; }
        mount --bind -- "$1" "$stage"
        cd "$stage" 2>/dev/null || { echo 'permission denied' >&2; exit 1; }
        bytes=$(du -sx --block-size=1 .) blocks=$(du -sx --apparent-size --block-size=1 .) files=$(du -sx --inodes .)
        bytes=${bytes%%[!0-9]*} blocks=${blocks%%[!0-9]*} files=${files%%[!0-9]*}
        [ "$blocks" -gt "$bytes" ] && bytes=$blocks
        size=$(( bytes / 1024 + bytes / 16384 + files * 5 + 1048576 ))
        exec mke2fs -q -F -t ext4 -b 4096 -O ^has_journal -m 0 -N $(( files * 5 / 4 + 16384 )) -L vmm-root -d . /proc/self/fd/3 "${size}k"
        """;

    /// <summary>$1 the archive. LZ4, because kernels on some hosts are emulated.</summary>
    private const string ArchiveScript = """
        PATH=$PATH:/usr/sbin:/sbin
        exec tar2sqfs -q -s -f -c lz4 /proc/self/fd/3 < "$1"
        """;

    private readonly FileDescriptor _file;

    private PackedRoot(FileDescriptor file, bool isReadOnly)
    {
        _file = file;
        Disk = new DiskSpec($"/proc/self/fd/{file.Number}", isReadOnly) { Format = DiskFormat.Raw, FormatIsGiven = true };
    }

    /// <summary>The first of the machine's disks.</summary>
    public DiskSpec Disk { get; }

    /// <summary>Packs it, and prints that with the size and time.</summary>
    /// <returns>Null where there is nothing to pack.</returns>
    /// <exception cref="UsageException">It cannot be read, or not be packed.</exception>
    /// <exception cref="HostException">The program for it is missing, or the disk is full.</exception>
    public static PackedRoot? Make(RunRoot root)
    {
        if (root.Kind is not (RootKind.PackedDirectory or RootKind.Archive))
        {
            return null;
        }

        bool isDirectory = root.Kind == RootKind.PackedDirectory;
        Stderr.WriteLine($"vmm: packing {root.Path} into an image{(root.WhyPacked.Length == 0 ? "" : $": {root.WhyPacked}")}");
        var clock = Stopwatch.StartNew();
        FileDescriptor file = DiskFiles.CreateNameless();
        try
        {
            Run(root.Path, isDirectory, file);
            if (!isDirectory && IsEmpty(file))
            {
                throw new UsageException($"--root {root.Path}: is no tar archive, or an empty one");
            }

            HostFile.TryStatus($"/proc/self/fd/{file.Number}", out Statx status);
            Stderr.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"vmm: packed: {status.Blocks * 512 / 1048576.0:0.0} MiB in {clock.Elapsed.TotalSeconds:0.0} s"));
            return new PackedRoot(file, isReadOnly: !isDirectory);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public void Dispose() => _file.Dispose();

    /// <summary>Is nothing in the image but its root directory? tar2sqfs makes such a one of what is no archive. (Superblock of squashfs: the
    /// number of inodes is at byte 4.)</summary>
    private static bool IsEmpty(FileDescriptor image)
    {
        Span<byte> count = stackalloc byte[sizeof(uint)];
        using FileStream file = File.OpenRead($"/proc/self/fd/{image.Number}");
        file.Position = 4;
        file.ReadExactly(count);
        return BinaryPrimitives.ReadUInt32LittleEndian(count) <= 1;
    }

    private static void Run(string path, bool isDirectory, FileDescriptor image)
    {
        ChildProcess.Ended ended = ChildProcess.Run("unshare", Arguments(path, isDirectory), image.Number);
        if (ended.Code == 0)
        {
            return;
        }

        (string program, string package) = isDirectory ? ("mke2fs", "e2fsprogs") : ("tar2sqfs", "squashfs-tools-ng");
        if (ended.IsMissing)
        {
            throw new HostException($"--root {path}: {program} is not installed; {PackageManager.Install(package)}");
        }

        if (ended.Said.Contains("No space left", StringComparison.Ordinal))
        {
            throw new HostException(
                $"--root {path}: no room for its image; TMPDIR names a directory with more, it is in /var/tmp if that is not set");
        }

        throw new UsageException(
            $"--root {path}: cannot be packed: {(ended.FirstLine.Length > 0 ? ended.FirstLine : $"{program} ended with {ended.Code}")}");
    }

    private static string[] Arguments(string path, bool isDirectory)
    {
        string[] user = LibC.geteuid() == 0 ? [] : ["--user", "--map-root-user"];
        return
        [
            .. user, "--mount", "--propagation", "private", "--", "setpriv", "--pdeathsig", "KILL", "--",
            "sh", "-c", isDirectory ? DirectoryScript : ArchiveScript, "vmm-pack", Path.GetFullPath(path),
        ];
    }
}
