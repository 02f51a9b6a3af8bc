namespace Vmm.Boot;

/// <summary>What kind of file a kernel is.</summary>
public enum KernelKind
{
    /// <summary>Linux with its decompressor and setup header.</summary>
    BzImage,

    /// <summary>ELF64 for x86-64: an uncompressed Linux (vmlinux), or another kernel.</summary>
    Elf64,

    /// <summary>ELF32 for i386.</summary>
    Elf32,

    /// <summary>Bytes to be loaded as a multiboot header among them says.</summary>
    Flat,
}

/// <summary>A kernel file, opened and checked. Only its headers have been read.</summary>
public sealed class KernelImage : IDisposable
{
    private KernelImage(ImageSource source, KernelKind kind)
    {
        Source = source;
        Kind = kind;
    }

    /// <summary>The path that the user gave, for messages.</summary>
    public string Name => Source.Name;

    public KernelKind Kind { get; }

    /// <summary>The file's bytes; disposed with this.</summary>
    public ImageSource Source { get; }

    /// <summary>The setup header, if <see cref="Kind"/> is <see cref="KernelKind.BzImage"/>.</summary>
    public BzImage? BzImage { get; private init; }

    /// <summary>The program headers, if it is an ELF file.</summary>
    public ElfImage? Elf { get; private init; }

    /// <summary>The multiboot header, if it has one.</summary>
    public MultibootHeader? Multiboot { get; private init; }

    /// <summary>Opens a kernel and finds out what it is.</summary>
    /// <exception cref="BootException">There is no such file, or it is no kernel that vmm can boot.</exception>
    public static KernelImage Open(string path)
    {
        ImageSource source = ImageSource.OpenFile(path, "kernel");
        try
        {
            return Parse(source);
        }
        catch
        {
            source.Dispose();
            throw;
        }
    }

    /// <summary>As <see cref="Open"/>, for bytes that are open already; they are disposed with the image.</summary>
    /// <exception cref="BootException">It is no kernel that vmm can boot.</exception>
    public static KernelImage Parse(ImageSource source) =>
        TryParse(source, out KernelImage? image) is string wrong
            ? throw new BootException($"kernel {source.Name}: {wrong}")
            : image!;

    public void Dispose() => Source.Dispose();

    /// <returns>What is wrong with the image, or null and the image.</returns>
    internal static string? TryParse(ImageSource source, out KernelImage? image)
    {
        image = null;
        if (ElfImage.Claims(source))
        {
            return ParseElf(source, out image);
        }

        if (BzImage.Claims(source))
        {
            string? wrong = BzImage.Parse(source, out BzImage? bzImage);
            image = wrong is null ? new KernelImage(source, KernelKind.BzImage) { BzImage = bzImage } : null;
            return wrong;
        }

        return ParseFlat(source, out image);
    }

    private static string? ParseElf(ImageSource source, out KernelImage? image)
    {
        image = null;
        if (ElfImage.Parse(source, out ElfImage? elf) is string wrong)
        {
            return wrong;
        }

        if (MultibootHeader.Find(source, out MultibootHeader? multiboot) is string wrongHeader)
        {
            return wrongHeader;
        }

        image = new KernelImage(source, elf!.Is64Bit ? KernelKind.Elf64 : KernelKind.Elf32)
        {
            Elf = elf,
            Multiboot = multiboot,
        };
        return null;
    }

    private static string? ParseFlat(ImageSource source, out KernelImage? image)
    {
        image = null;
        if (MultibootHeader.Find(source, out MultibootHeader? multiboot) is string wrong)
        {
            return wrong;
        }

        if (multiboot?.Flat is null && PortableExecutable.Describe(source) is string program)
        {
            return program;
        }

        if (multiboot is null)
        {
            return DescribeMistake(source);
        }

        if (multiboot.Flat is null)
        {
            return "has a multiboot header without addresses, and is no ELF file to take them from";
        }

        image = new KernelImage(source, KernelKind.Flat) { Multiboot = multiboot };
        return null;
    }

    /// <summary>Recognises files that users give by mistake.</summary>
    private static string DescribeMistake(ImageSource source)
    {
        if (source.TryRead(0, out ushort gzip) && gzip == 0x8b1f)
        {
            return "is compressed by gzip: unpack it with gunzip first";
        }

        // Documentation/driver-api/early-userspace/buffer-format.rst: "070701" or "070702" begins a cpio archive.
        Span<byte> magic = stackalloc byte[6];
        if (source.TryRead(0, magic) && (magic.SequenceEqual("070701"u8) || magic.SequenceEqual("070702"u8)))
        {
            return "is an initramfs (a cpio archive): give it with --initrd, and a bzImage or a vmlinux as the kernel";
        }

        // Documentation/arm64/booting.rst: "ARM\x64" at offset 56.
        if (source.TryRead(56, out uint arm) && arm == 0x644d_5241)
        {
            return "is a kernel for arm64: give one for x86-64";
        }

        return "is no kernel that vmm knows: give a bzImage or a vmlinux";
    }
}
