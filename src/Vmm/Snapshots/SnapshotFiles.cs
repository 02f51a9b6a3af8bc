namespace Vmm.Snapshots;

/// <summary>The files of a snapshot's directory (docs/snapshots.md).</summary>
internal static class SnapshotFiles
{
    /// <summary>What the machine is and what it needs: <see cref="SnapshotHead"/>.</summary>
    public const string Head = "snapshot.json";

    /// <summary>All of the machine but its memory: <see cref="Machines.MachineParts"/>.</summary>
    public const string State = "state.json";

    /// <summary>Guest memory, as long as the machine's, with holes where it is zero.</summary>
    public const string Memory = "memory";

    /// <summary>A checksum for each chunk of it: <see cref="MemoryChecksums"/>.</summary>
    public const string MemoryChecksums = "memory.crc32c";

    /// <summary>Of a diff: the pages that it has, a bit for each (<see cref="Machines.PageSet.ToBytes"/>).</summary>
    public const string Pages = "memory.pages";

    /// <summary>Of an entry of the boot cache: what it depends on, and where it is from.</summary>
    public const string Key = "key", Origin = "origin";

    private const string OverlayStart = "disk", OverlayEnd = ".qcow2";

    /// <summary>The writes to an ephemeral disk.</summary>
    public static string Overlay(int disk) => $"{OverlayStart}{disk}{OverlayEnd}";

    /// <summary>Has a snapshot a file of that name?</summary>
    public static bool IsOne(string name) => name is Head or State or Memory or MemoryChecksums or Pages or Key or Origin
        || (name.StartsWith(OverlayStart, StringComparison.Ordinal) && name.EndsWith(OverlayEnd, StringComparison.Ordinal)
            && name.AsSpan()[OverlayStart.Length..^OverlayEnd.Length] is { IsEmpty: false } number && !number.ContainsAnyExceptInRange('0', '9'));
}
