using Vmm.Backends.Disks.Qcow2;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Backends.Disks;

/// <summary>Opens an image and its backing files.</summary>
/// <param name="overlay">An ephemeral overlay that has changes already, owned from now on; null for a new one.</param>
internal sealed class DiskImages(FileEngine engine, DiskSpec spec, FileDescriptor? overlay = null)
{
    /// <param name="alignment">Bytes that O_DIRECT wants requests to be multiples of; 512 without.</param>
    /// <exception cref="UsageException">A file or its content does not fit.</exception>
    public DiskNode Open(out uint alignment)
    {
        bool isBase = spec.Ephemeral || spec.Overlay is not null;
        DiskNode disk = OpenOne(
            spec.Path, spec.Format, spec.FormatIsGiven, spec.ReadOnly || isBase, 0, isBase, out alignment);
        try
        {
            return spec.Ephemeral ? OpenEphemeral(disk)
                : spec.Overlay is not null ? OpenOverlay(spec.Overlay, disk)
                : disk;
        }
        catch
        {
            disk.Dispose();
            throw;
        }
    }

    private DiskNode OpenOne(
        string path, DiskFormat format, bool isGiven, bool readOnly, int depth, bool isBacking, out uint alignment)
    {
        HostFile file = DiskFiles.Open(path, readOnly, engine, spec.Cache);
        DiskNode? backing = null;
        try
        {
            alignment = file is DirectFile direct ? direct.OffsetAlign : 512;
            ImageContent.Check(file, format, isGiven, isBacking: depth > 0);
            if (format == DiskFormat.Raw)
            {
                if (!isBacking)
                {
                    DiskFiles.CheckRawLength(file);
                }

                return new RawDisk(file, spec.Discard, pads: isBacking);
            }

            Qcow2Header header = ReadHeader(file);
            backing = header.BackingName is null ? null : OpenBacking(path, header, depth);
            return new Qcow2Disk(file, header, backing, spec.Discard);
        }
        catch
        {
            backing?.Dispose();
            file.Dispose();
            throw;
        }
    }

    private static Qcow2Header ReadHeader(HostFile file)
    {
        Qcow2Header header = Qcow2Header.Read(file);
        return file is DirectFile && header.ClusterSize < 4096
            ? throw Qcow2Header.Wrong(file, "cache=none needs clusters of 4096 bytes or more; leave it out")
            : header;
    }

    private DiskNode OpenBacking(string image, Qcow2Header header, int depth)
    {
        if (depth == Qcow2Format.MaxBackingDepth)
        {
            throw new UsageException($"--disk {spec.Path}: a chain of more than {depth} backing files");
        }

        string path = FindBacking(image, header.BackingName!);
        DiskFormat format = header.BackingFormat switch
        {
            "raw" => DiskFormat.Raw,
            "qcow2" => DiskFormat.Qcow2,
            null => DiskFormats.OfName(path),
            _ => throw new UsageException(
                $"--disk {image}: its backing file {path} has another format than raw or qcow2"),
        };
        return OpenOne(
            path, format, header.BackingFormat is not null, readOnly: true, depth + 1, isBacking: true, out _);
    }

    /// <summary>An image can name any file of the host, so only files that the user expects are opened: a file beside the
    /// image, or the one that was named on the command line.</summary>
    private string FindBacking(string image, string name)
    {
        string directory = Path.GetDirectoryName(HostFile.RealPath(image)) ?? "/";
        string? real = HostFile.RealPath(Path.Combine(directory, name));
        if (real is null)
        {
            throw new UsageException($"--disk {image}: its backing file '{PrintableText.Of(name)}' does not exist");
        }

        bool allowed = Path.GetDirectoryName(real) == directory
            || (spec.Backing is not null && HostFile.RealPath(spec.Backing) == real);
        return allowed
            ? real
            : throw new UsageException(
                $"--disk {image}: its backing file '{PrintableText.Of(real)}' is not in its directory; if that is intended, "
                + $"add ',backing={PrintableText.Of(real)}'");
    }

    private Qcow2Disk OpenOverlay(string path, DiskNode disk)
    {
        string real = HostFile.RealPath(spec.Path)!;
        if (!HostFile.TryStatus(path, out _))
        {
            Qcow2Image.Create(path, disk.Length, real, spec.Format);
        }

        HostFile file = DiskFiles.Open(path, readOnly: false, engine, spec.Cache);
        try
        {
            Qcow2Header header = ReadHeader(file);
            string directory = Path.GetDirectoryName(HostFile.RealPath(path)) ?? "/";
            bool same = header.BackingName is not null
                && HostFile.RealPath(Path.Combine(directory, header.BackingName)) == real;
            return same
                ? new Qcow2Disk(file, header, disk, spec.Discard)
                : throw new UsageException(
                    $"--disk {spec.Path}: the overlay {path} has another backing file; give another name for a new one");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private Qcow2Disk OpenEphemeral(DiskNode disk)
    {
        HostFile file = overlay is null ? DiskFiles.OpenTemporary(engine) : DiskFiles.Temporary(overlay, engine);
        try
        {
            if (overlay is null)
            {
                Qcow2Image.Create(file, disk.Length);
            }

            return new Qcow2Disk(file, Qcow2Header.Read(file), disk);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }
}
