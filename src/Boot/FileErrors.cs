using System.Runtime.InteropServices;

namespace Vmm.Boot;

/// <summary>Why a file could not be used, in words for the user. The framework's own messages are left out of the binary,
/// which has their keys instead (UseSystemResourceKeys).</summary>
public static class FileErrors
{
    internal const string PermissionDenied = "permission denied";

    private const int EPERM = 1;
    private const int ENOENT = 2;
    private const int EACCES = 13;
    private const int EISDIR = 21;
    private const int ENAMETOOLONG = 36;
    private const int EWOULDBLOCK = 11;
    private const int MostErrno = 4095;

    /// <returns>Null if the exception is not about a file.</returns>
    public static string? Describe(Exception error) => error switch
    {
        FileNotFoundException => "no such file",
        DirectoryNotFoundException => "no such file or directory",
        UnauthorizedAccessException => PermissionDenied,
        NotSupportedException => "is not a regular file: copy it into one",
        ArgumentOutOfRangeException => "is larger than its file system can have",      // EFBIG, by .NET
        PathTooLongException => "the path is too long",
        ArgumentException => "is not a path",
        IOException { HResult: EWOULDBLOCK } => "is in use: something else writes to it",      // flock(2), by .NET
        // The number of the failed call's error, where .NET has no exception of its own for it.
        IOException { HResult: > 0 and <= MostErrno } io => Marshal.GetPInvokeErrorMessage(io.HResult),
        IOException => error.Message,
        _ => null,
    };

    /// <summary>The same for the number of an error.</summary>
    public static string Describe(int errno) => errno switch
    {
        ENOENT => "no such file or directory",
        EPERM or EACCES => PermissionDenied,
        EISDIR => "is a directory: give a file",
        ENAMETOOLONG => "the path is too long",
        _ => Marshal.GetPInvokeErrorMessage(errno),
    };
}
