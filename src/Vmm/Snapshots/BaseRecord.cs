using Vmm.Devices.State;

namespace Vmm.Snapshots;

/// <summary>The snapshot that a diff completes, and which pages the diff has.</summary>
/// <param name="Directory">Where it was: for messages, and never opened by itself.</param>
/// <param name="Id">Its <see cref="SnapshotHead.Id"/>.</param>
/// <param name="Checksums">Its file of that kind, so its whole memory.</param>
/// <param name="Pages">The diff's own <see cref="SnapshotFiles.Pages"/>.</param>
internal sealed record BaseRecord(string Directory, string Id, FileRecord Checksums, FileRecord Pages)
{
    public void Write(StateWriter state)
    {
        state.Write("directory", Directory);
        state.Write("id", Id);
        state.Write("memoryChecksums", Checksums.Write);
        state.Write("pages", Pages.Write);
    }

    public static BaseRecord Read(StateReader state)
    {
        var record = new BaseRecord(
            state.String("directory", SavedConfiguration.MostOption),
            SnapshotHead.ReadId(state),
            FileRecord.Read(state.Object("memoryChecksums")),
            FileRecord.Read(state.Object("pages")));
        state.End();
        return record;
    }
}
