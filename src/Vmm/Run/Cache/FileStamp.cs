using System.Globalization;
using Vmm.Host;

namespace Vmm.Run.Cache;

/// <summary>Tells a file from all others and from itself at other times, by its inode and its times.</summary>
/// <param name="Text">One line, without its name.</param>
/// <param name="Changed">When it was changed last.</param>
/// <param name="IsCoarse">Its file system seems to keep whole seconds.</param>
internal readonly record struct FileStamp(string Text, TimeSpan Changed, bool IsCoarse)
{
    // A file's times are those of the last tick of the kernel's clock, 10 ms at most; FAT has every other second.
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(20), CoarseTick = TimeSpan.FromSeconds(2.5);

    /// <summary>It could not be changed once more without another time.</summary>
    /// <param name="now">Since 1970.</param>
    public bool IsSettled(TimeSpan now) => now < Changed || now - Changed > (IsCoarse ? CoarseTick : Tick);

    /// <returns>Null where there is no such file, or none that has a content of its own, as a device.</returns>
    public static FileStamp? TryOf(string path)
    {
        if (!HostFile.TryStatus(path, out Statx status) || (status.Mode & LibC.S_IFMT) != LibC.S_IFREG)
        {
            return null;
        }

        string text = string.Create(
            CultureInfo.InvariantCulture,
            $"{status.DeviceMajor}:{status.DeviceMinor} {status.Inode} {status.Size} {status.ModifiedSeconds}.{status.ModifiedNanoseconds:d9} {status.ChangedSeconds}.{status.ChangedNanoseconds:d9}");
        return new FileStamp(
            text, TimeSpan.FromSeconds(status.ChangedSeconds) + TimeSpan.FromMicroseconds(status.ChangedNanoseconds / 1000), status.ChangedNanoseconds == 0);
    }
}
