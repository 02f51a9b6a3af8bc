using System.Buffers.Binary;
using Vmm.Backends.Networks;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>Formats that a file's first or last bytes tell.</summary>
internal enum ContainerKind
{
    /// <summary>None that is known here: a raw disk, for instance.</summary>
    None,
    Qcow2,
    Qcow1,
    Vmdk,
    Vhdx,
    Vdi,
    Vhd,
    Luks,
    Gzip,
    Zstd,
    Xz,
}

/// <summary>Recognises a file's content. The format to open it in is never taken from there, as a guest controls the first
/// bytes of a raw disk; but a file whose content contradicts its name is refused until the user gives the format.</summary>
internal static class ImageContent
{
    private const int FooterBytes = 512;

    /// <summary>The format that the content is in, as far as its magic numbers tell; None for a file that cannot be
    /// read.</summary>
    public static ContainerKind Find(BlockFile file)
    {
        Span<byte> start = stackalloc byte[512];
        Span<byte> end = stackalloc byte[FooterBytes];
        ulong length = file.Length;
        if (!file.TryRead(0, start))
        {
            return ContainerKind.None;
        }

        ContainerKind kind = FindAtStart(start);
        return kind == ContainerKind.None && length > FooterBytes && file.TryRead(length - FooterBytes, end)
            && IsVhd(end)
                ? ContainerKind.Vhd
                : kind;
    }

    /// <summary>Checks that the content fits the format that the file will be opened in. With format=raw it may be
    /// anything.</summary>
    /// <param name="isGiven">The format was given by the user or the image on top; otherwise it comes from the name.</param>
    /// <param name="isBacking">This file is the backing file of another image.</param>
    /// <exception cref="UsageException">It does not fit; the message says what the user can do.</exception>
    public static void Check(BlockFile file, DiskFormat format, bool isGiven, bool isBacking)
    {
        if (isGiven && format == DiskFormat.Raw)
        {
            return;
        }

        ContainerKind found = Find(file);
        if (found != (format == DiskFormat.Qcow2 ? ContainerKind.Qcow2 : ContainerKind.None))
        {
            throw new UsageException($"--disk {file.Path}: {Contradiction(found, format, isGiven, isBacking, file.Path)}");
        }
    }

    /// <summary>Checks a file that is not open.</summary>
    /// <returns>What is wrong; null for nothing.</returns>
    /// <exception cref="UsageException">It cannot be read.</exception>
    public static string? Contradiction(string path, DiskFormat format)
    {
        using var loop = new EventLoop();
        using var engine = new FileEngine(loop);
        using HostFile file = DiskFiles.Open(path, readOnly: true, engine);
        ContainerKind found = Find(file);
        return found == (format == DiskFormat.Qcow2 ? ContainerKind.Qcow2 : ContainerKind.None) ? null
            : found == ContainerKind.None ? "its content is no qcow2 image"
            : $"its content is {Describe(found)}";
    }

    /// <summary>The message: what is wrong, and what the user can do.</summary>
    private static string Contradiction(
        ContainerKind found, DiskFormat format, bool isGiven, bool isBacking, string path)
    {
        string source = (isGiven, isBacking, format) switch
        {
            (true, true, _) => "the image above it says that it is qcow2",
            (true, false, _) => "format=qcow2 was given",
            (false, _, DiskFormat.Qcow2) => "its name says qcow2",
            _ => "no format was given",
        };
        string As(string name) => isBacking
            ? $"set that in the image above it: qemu-img rebase -u -F {name} -b {path} IMAGE"
            : $"{(isGiven ? "give" : "add")} 'format={name}'";
        string raw = $"if the guest is to see these bytes as they are, {As("raw")}";
        return found switch
        {
            ContainerKind.None => $"{source}, but its content is no qcow2 image; {raw}",
            ContainerKind.Qcow2 => $"its content is {Describe(found)}, and {source}; to open it as one, {As("qcow2")}; {raw}",
            _ => $"its content is {Describe(found)}, and {source}; {Remedy(found, path)}; {raw}",
        };
    }

    /// <summary>For messages, as in "its content is ...".</summary>
    public static string Describe(ContainerKind kind) => kind switch
    {
        ContainerKind.Qcow2 => "a qcow2 image",
        ContainerKind.Qcow1 => "a qcow image of version 1",
        ContainerKind.Vmdk => "a VMDK image",
        ContainerKind.Vhdx => "a VHDX image",
        ContainerKind.Vdi => "a VDI image",
        ContainerKind.Vhd => "a VHD image",
        ContainerKind.Luks => "encrypted with LUKS",
        ContainerKind.Gzip => "compressed by gzip",
        ContainerKind.Zstd => "compressed by zstd",
        ContainerKind.Xz => "compressed by xz",
        _ => "not known",
    };

    /// <summary>The command that converts it to a format that vmm opens, for messages; null for qcow2.</summary>
    public static string? Remedy(ContainerKind kind, string path) => kind switch
    {
        ContainerKind.Qcow1 => Convert("qcow", path),
        ContainerKind.Vmdk => Convert("vmdk", path),
        ContainerKind.Vhdx => Convert("vhdx", path),
        ContainerKind.Vdi => Convert("vdi", path),
        ContainerKind.Vhd => Convert("vpc", path),
        ContainerKind.Luks => $"unlock it (cryptsetup open {path} NAME) and give /dev/mapper/NAME",
        ContainerKind.Gzip => $"unpack it: gzip -dc {path} > disk.img",
        ContainerKind.Zstd => $"unpack it: zstd -dc {path} > disk.img",
        ContainerKind.Xz => $"unpack it: xz -dc {path} > disk.img",
        _ => null,
    };

    private static string Convert(string from, string path) =>
        $"convert it: qemu-img convert -f {from} -O qcow2 {path} disk.qcow2";

    private static ContainerKind FindAtStart(ReadOnlySpan<byte> start)
    {
        // QEMU docs/interop/qcow2.rst: magic, then the version; version 1 is the format before.
        if (start.StartsWith("QFI"u8) && start[3] == 0xfb)
        {
            return BinaryPrimitives.ReadUInt32BigEndian(start[4..]) == 1 ? ContainerKind.Qcow1 : ContainerKind.Qcow2;
        }

        // VMware Virtual Disk Format 1.1: a sparse extent of a hosted disk, of an ESX Server disk, and a descriptor.
        if (start.StartsWith("KDMV"u8) || start.StartsWith("COWD"u8) || start.StartsWith("# Disk DescriptorFile"u8))
        {
            return ContainerKind.Vmdk;
        }

        // [MS-VHDX] 2.2.1: the file type identifier.
        if (start.StartsWith("vhdxfile"u8))
        {
            return ContainerKind.Vhdx;
        }

        // A text of 64 bytes, then the signature 0xbeda107f (VirtualBox, VDICore.h).
        if (BinaryPrimitives.ReadUInt32LittleEndian(start[64..]) == 0xbeda_107f)
        {
            return ContainerKind.Vdi;
        }

        if (IsVhd(start))
        {
            return ContainerKind.Vhd;       // dynamic and differencing ones begin with a copy of the footer
        }

        // LUKS On-Disk Format, versions 1 and 2: "LUKS" 0xba 0xbe.
        if (start.StartsWith("LUKS"u8) && start[4] == 0xba && start[5] == 0xbe)
        {
            return ContainerKind.Luks;
        }

        return start switch
        {
            [0x1f, 0x8b, 0x08, ..] => ContainerKind.Gzip,                           // RFC 1952, 2.3.1
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ContainerKind.Zstd,                     // RFC 8878, 3.1.1
            [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => ContainerKind.Xz,  // .xz format 2.1.1.1
            _ => ContainerKind.None,
        };
    }

    /// <summary>Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format": the cookie.</summary>
    private static bool IsVhd(ReadOnlySpan<byte> footer) => footer.StartsWith("conectix"u8);
}
