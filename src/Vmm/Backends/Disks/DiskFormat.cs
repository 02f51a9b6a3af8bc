namespace Vmm.Backends.Disks;

/// <summary>How a disk's bytes are stored in its file.</summary>
internal enum DiskFormat
{
    Raw,
    Qcow2,
}

/// <summary>What a file's name says about its format.</summary>
internal static class DiskFormats
{
    /// <summary>qcow2 for the extension .qcow2 in any case, else raw.</summary>
    public static DiskFormat OfName(string path) =>
        path.EndsWith(".qcow2", StringComparison.OrdinalIgnoreCase) ? DiskFormat.Qcow2 : DiskFormat.Raw;

    /// <summary>As <c>format=</c>, <c>--format</c> and a qcow2 header write it.</summary>
    public static string Name(this DiskFormat format) => format == DiskFormat.Qcow2 ? "qcow2" : "raw";

    /// <summary>Parses a format's name.</summary>
    /// <returns>Null: there is no such format.</returns>
    public static DiskFormat? Parse(string name) => name switch
    {
        "raw" => DiskFormat.Raw,
        "qcow2" => DiskFormat.Qcow2,
        _ => null,
    };
}
