using Vmm.Host;

namespace Vmm.Run.Copy;

/// <summary>Names of files that are not UTF-8: .NET and its archives put another character in place of each byte that is none, so that two
/// files might become one.</summary>
internal static class CopyNames
{
    /// <summary>That character.</summary>
    public const char Lossy = '\ufffd';

    /// <summary>Why a file is left out.</summary>
    public const string Why = "its name, or where it leads, is not UTF-8";

    /// <exception cref="HostException">Something was left out: the copy is not whole.</exception>
    public static void Check(string copied, int leftOut)
    {
        if (leftOut > 0)
        {
            throw new HostException($"{copied}: {leftOut} of its files were left out, whose names are not UTF-8; pack them into an archive, and copy that");
        }
    }
}
