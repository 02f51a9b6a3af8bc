namespace Vmm.Run.Roots;

/// <summary>Tells which file system a raw image holds, so that its module can be loaded. A wrong guess costs a mount that fails.
/// </summary>
internal static class DiskFileSystem
{
    /// <returns>The module's name; null for one that is not known here, or a file that cannot be read.</returns>
    public static string? Find(string path)
    {
        const int Head = 0x10048;
        byte[] head = new byte[Head];
        try
        {
            using FileStream file = File.OpenRead(path);
            return Identify(head.AsSpan(0, file.ReadAtLeast(head, Head, throwOnEndOfStream: false)));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            return null;
        }
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
