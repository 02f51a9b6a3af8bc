namespace Vmm;

/// <summary>Files that the user asked results to be written to. They are opened before anything starts, so that a mistyped
/// path does not cost a run.</summary>
internal static class OutputFile
{
    /// <param name="option">Which asked for it, for the message.</param>
    /// <exception cref="UsageException">It cannot be written.</exception>
    public static FileStream Create(string path, string option, int buffer = 4096)
    {
        try
        {
            return new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, buffer);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            string what = Directory.Exists(path) ? "is a directory" : error.Message;
            throw new UsageException($"{option} {path}: {what}");
        }
    }
}
