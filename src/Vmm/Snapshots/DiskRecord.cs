using Vmm.Backends.Disks;
using Vmm.Devices.State;

namespace Vmm.Snapshots;

/// <summary>A disk of a saved machine: by reference; only the writes to an ephemeral disk are copied.</summary>
/// <param name="Option">As it would be typed.</param>
/// <param name="Files">Its files: the image, and the overlay that it writes to.</param>
/// <param name="HasOverlay">The writes of an ephemeral disk are in the snapshot (<see cref="SnapshotFiles.Overlay"/>).</param>
internal sealed record DiskRecord(string Option, IReadOnlyList<FileIdentity> Files, bool HasOverlay)
{
    private const int MostFiles = 2;

    public static DiskRecord Of(DiskSpec spec)
    {
        string image = Path.GetFullPath(spec.Path);
        FileIdentity[] files = spec.Overlay is { } overlay
            ? [FileIdentity.Of(image), FileIdentity.Of(Path.GetFullPath(overlay))]
            : [FileIdentity.Of(image)];
        return new DiskRecord(OptionWords.Of(spec), files, spec.Ephemeral);
    }

    public static void Write(StateWriter state, DiskRecord disk)
    {
        state.Write("option", disk.Option);
        state.Write("files", disk.Files, FileIdentity.Write);
        state.Write("overlay", disk.HasOverlay);
    }

    public static DiskRecord Read(StateReader state)
    {
        var disk = new DiskRecord(
            state.String("option", SavedConfiguration.MostOption),
            [.. state.List("files", 1, MostFiles).Select(FileIdentity.Read)],
            state.Boolean("overlay"));
        state.End();
        return disk;
    }
}
