using Vmm.Host;

namespace Vmm.Run.Roots;

/// <summary>Tells which file system a raw image holds, so that its module can be loaded. A wrong guess costs a mount that fails.
/// </summary>
internal static class DiskFileSystem
{
    private const int Sector = 512;

    /// <summary>Refuses what a guest can never mount: files that are too short for any file system, and disks with partitions.</summary>
    /// <exception cref="UsageException">It is one.</exception>
    public static void CheckMountable(string path)
    {
        Span<byte> head = stackalloc byte[2 * Sector];
        int length = FileHead.Read(path, head);
        if (length < 0)
        {
            return;     // opening the disk says what is wrong
        }

        if (length < head.Length)
        {
            throw new UsageException($"--root {path}: is neither a disk image nor a tar archive");
        }

        if (HasPartitions(head))
        {
            throw new UsageException($"--root {path}: has partitions, and vmm run mounts a disk as a whole; "
                + "for one of them: losetup -rP --show -f FILE, and --root /dev/loopNpM");
        }
    }

    /// <summary>A GUID partition table (UEFI 2.10, section 5.3.2: its header is in the second sector), or a master boot record with a
    /// partition in its first place (section 5.2.1), which a boot sector of FAT, with the same signature at its end, has none of.</summary>
    internal static bool HasPartitions(ReadOnlySpan<byte> head) =>
        Has(head, Sector, "EFI PART"u8)
        || (Has(head, 510, [0x55, 0xaa]) && head[446] is 0 or 0x80 && head[450] != 0 && !Has(head, 54, "FAT"u8) && !Has(head, 82, "FAT"u8));

    /// <returns>The module's name; null for one that is not known here, or a file that cannot be read.</returns>
    public static string? Find(string path)
    {
        byte[] head = new byte[0x10048];
        int length = FileHead.Read(path, head);
        return length < 0 ? null : Identify(head.AsSpan(0, length));
    }

    /// <summary>The magic numbers of superblocks (linux/magic.h).</summary>
    internal static string? Identify(ReadOnlySpan<byte> head) =>
        Has(head, 0x438, [0x53, 0xef]) ? "ext4"
        : Has(head, 0, "XFSB"u8) ? "xfs"
        : Has(head, 0x10040, "_BHRfS_M"u8) ? "btrfs"
        : Has(head, 0, "hsqs"u8) ? "squashfs"
        : Has(head, 0x400, [0xe2, 0xe1, 0xf5, 0xe0]) ? "erofs"
        : null;

    private static bool Has(ReadOnlySpan<byte> head, int offset, ReadOnlySpan<byte> magic) =>
        head.Length >= offset + magic.Length && head[offset..].StartsWith(magic);
}
