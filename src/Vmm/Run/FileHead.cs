namespace Vmm.Run;

/// <summary>The first bytes of a file, which tell what it is.</summary>
internal static class FileHead
{
    /// <param name="head">Room for them.</param>
    /// <returns>How many of them the file has; -1 where it cannot be read.</returns>
    public static int Read(string path, Span<byte> head)
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
            return file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            return -1;
        }
    }
}
