using Vmm.Devices.State;
using Vmm.Host;

namespace Vmm.Snapshots;

/// <summary>Identifies a file of a disk, and its last change.</summary>
/// <param name="Path">Where it was.</param>
internal sealed record FileIdentity(string Path, uint DeviceMajor, uint DeviceMinor, ulong Inode, ulong Size, long Seconds, uint Nanoseconds)
{
    private const int MostPath = 4096;

    /// <exception cref="ErrnoException">There is no such file any more.</exception>
    public static FileIdentity Of(string path) =>
        HostFile.TryStatus(path, out Statx status) ? From(path, status) : throw new ErrnoException(path, ErrnoException.ENOENT);

    /// <summary>Does the file exist, unchanged?</summary>
    public bool IsUnchanged => HostFile.TryStatus(Path, out Statx status) && From(Path, status) == this;

    public static void Write(StateWriter state, FileIdentity file)
    {
        state.Write("path", file.Path);
        state.Write("deviceMajor", file.DeviceMajor);
        state.Write("deviceMinor", file.DeviceMinor);
        state.Write("inode", file.Inode);
        state.Write("size", file.Size);
        state.Write("modifiedSeconds", file.Seconds);
        state.Write("modifiedNanoseconds", file.Nanoseconds);
    }

    public static FileIdentity Read(StateReader state)
    {
        var file = new FileIdentity(
            state.String("path", MostPath), state.UInt32("deviceMajor"), state.UInt32("deviceMinor"), state.UInt64("inode"),
            state.UInt64("size"), state.Int64("modifiedSeconds"), state.UInt32("modifiedNanoseconds"));
        state.End();
        return file;
    }

    private static FileIdentity From(string path, in Statx status) => new(
        path, status.DeviceMajor, status.DeviceMinor, status.Inode, status.Size, status.ModifiedSeconds, status.ModifiedNanoseconds);
}
