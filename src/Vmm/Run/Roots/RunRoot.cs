using System.Runtime.InteropServices;
using Vmm.Backends.Shares;
using Vmm.Host;

namespace Vmm.Run.Roots;

/// <summary>The kinds of root file systems that a guest gets.</summary>
internal enum RootKind
{
    /// <summary>The initramfs itself, with busybox.</summary>
    Busybox,

    /// <summary>A directory of this host, by virtiofs, under an overlay in memory.</summary>
    Share,

    /// <summary>A disk image.</summary>
    Disk,

    /// <summary>A directory of this host, packed into an ext4 image, without virtiofs.</summary>
    PackedDirectory,

    /// <summary>A tar archive, packed into an image of squashfs, under an overlay in memory.</summary>
    Archive,
}

/// <summary>The guest's root file system.</summary>
/// <param name="Path">The directory, image or archive; empty for busybox.</param>
internal sealed record RunRoot(RootKind Kind, string Path = "")
{
    /// <summary>The tag of the share that is the root.</summary>
    public const string Tag = "vmm-root";

    /// <summary>Why a directory is packed; empty where the user asked for it.</summary>
    public string WhyPacked { get; init; } = "";

    /// <summary>Is the working directory to be writable, under the same path?</summary>
    public bool IsWorkWritable { get; init; }

    /// <summary>The file that keeps the changes to a disk image; null where they are discarded.</summary>
    public string? Keep { get; init; }

    /// <summary>Must the guest find a disk that holds it?</summary>
    public bool IsOnDisk => Kind is RootKind.Disk or RootKind.PackedDirectory or RootKind.Archive;

    /// <param name="root">What <c>--root</c> says; null where it was not given.</param>
    /// <param name="pack">A directory is to be packed, not shared.</param>
    /// <param name="canShare">Is virtiofsd there?</param>
    /// <exception cref="UsageException">There is no way to make it.</exception>
    public static RunRoot Choose(string? root, bool pack, bool canShare)
    {
        if (root == "none")
        {
            return new RunRoot(RootKind.Busybox);
        }

        string path = root ?? "/";
        if (!Directory.Exists(path))
        {
            if (LibC.access(path, LibC.F_OK) != 0)
            {
                throw new UsageException($"--root {path}: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");
            }

            if (ArchiveFile.Claims(path))
            {
                return new RunRoot(RootKind.Archive, path);
            }

            DiskFileSystem.CheckMountable(path);
            return new RunRoot(RootKind.Disk, path);
        }

        if (LibC.access(path, LibC.R_OK | LibC.X_OK) != 0)
        {
            throw new UsageException($"--root {path}: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");
        }

        if (canShare && !pack)
        {
            return new RunRoot(RootKind.Share, path);
        }

        // Packing the host's root by default would copy gigabytes at each run.
        return root is null && !pack
            ? throw new UsageException(
                $"this host's / is the guest's root file system unless --root says otherwise, and that takes virtiofsd; {Virtiofsd.HowToInstall}; "
                + "or give --root none, for busybox alone")
            : new RunRoot(RootKind.PackedDirectory, path) { WhyPacked = pack ? "" : $"virtiofsd is not installed; {Virtiofsd.HowToInstall}" };
    }
}
