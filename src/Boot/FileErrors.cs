using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>Messages for the user about files that could not be used. The framework's own messages are not in the binary, which
/// has only their keys (UseSystemResourceKeys).</summary>
public static class FileErrors
{
    internal const string PermissionDenied = "permission denied";

    private const string TooLarge = "is larger than the file size limit (ulimit -f), or than its file system can have";

    private const int MostErrno = 4095;

    /// <returns>Null if the exception is not about a file.</returns>
    public static string? Describe(Exception error) => error switch
    {
        FileNotFoundException { FileName: null } => "the working directory was removed; change to one that is there",     // getcwd(2), by .NET
        FileNotFoundException => "no such file",
        DirectoryNotFoundException => "no such file or directory",
        UnauthorizedAccessException => PermissionDenied,
        NotSupportedException => "is not a regular file: copy it into one",
        ArgumentOutOfRangeException => TooLarge,        // EFBIG, by .NET
        PathTooLongException => "the path is too long",
        ArgumentException => "is not a path",
        IOException io when io.HResult == LibC.EWOULDBLOCK => "is in use: something else writes to it",      // flock(2), by .NET
        IOException io when io.HResult == LibC.EFBIG => TooLarge,
        // The number of the failed call's error, where .NET has no exception of its own for it.
        IOException { HResult: > 0 and <= MostErrno } io => Marshal.GetPInvokeErrorMessage(io.HResult),
        IOException => error.Message,
        _ => null,
    };

    /// <summary>The message for an errno.</summary>
    public static string Describe(int errno) =>
        errno == LibC.ENOENT ? "no such file or directory"
        : errno == LibC.EPERM || errno == LibC.EACCES ? PermissionDenied
        : errno == LibC.EISDIR ? "is a directory: give a file"
        : errno == LibC.EFBIG ? TooLarge
        : errno == LibC.ENAMETOOLONG ? "the path is too long"
        : Marshal.GetPInvokeErrorMessage(errno) + Remedy(errno);

    /// <summary>Did the host fail, rather than the user name a wrong file?</summary>
    public static bool IsHostsFault(int errno) =>
        errno == LibC.EIO || errno == LibC.ENOMEM || errno == LibC.ENFILE || errno == LibC.EMFILE || errno == LibC.ENOSPC
        || errno == LibC.EDQUOT;

    /// <inheritdoc cref="IsHostsFault(int)"/>
    public static bool IsHostsFault(Exception error) => error is IOException { HResult: var errno } && IsHostsFault(errno);

    /// <summary>What to do about it, to follow the description; empty for nothing.</summary>
    public static string Remedy(int errno) =>
        errno == LibC.EMFILE ? ": raise the limit in the shell that starts vmm, for instance: ulimit -n 1024" : "";
}
