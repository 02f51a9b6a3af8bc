namespace Vmm.Run.Roots;

/// <summary>Tells archives from disk images.</summary>
internal static class ArchiveFile
{
    private const int Head = 512;

    /// <summary>Is it a tar archive, packed by gzip, bzip2, xz or zstd or not packed? Every compressed file counts as one, as
    /// no disk image is compressed.</summary>
    /// <returns>False for what cannot be read.</returns>
    public static bool Claims(string path)
    {
        Span<byte> head = stackalloc byte[Head];
        int length = FileHead.Read(path, head);
        return length >= 0 && (IsArchive(head[..length]) || path.EndsWith(".tar", StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>POSIX 1003.1 pax, "ustar Interchange Format": the magic at 257. The others begin with theirs.</summary>
    internal static bool IsArchive(ReadOnlySpan<byte> head) => head switch
    {
        [0x1f, 0x8b, 0x08, ..] => true,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => true,
        [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => true,
        [(byte)'B', (byte)'Z', (byte)'h', >= (byte)'1' and <= (byte)'9', ..] => true,
        _ => head.Length == Head && head[257..].StartsWith("ustar"u8),
    };
}
