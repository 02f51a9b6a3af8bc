using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>The files of --initrd: one, or several that the kernel sees as one.</summary>
/// <remarks>Nothing is unpacked or changed, so archives with microcode in front pass as they are. Each file but the
/// last is padded with zeros to 4 bytes: Linux takes the next archive only from an aligned offset
/// (Documentation/driver-api/early-userspace/buffer-format.rst).</remarks>
public sealed class InitialRamDisk : IDisposable
{
    private const ulong Alignment = 4;

    private readonly ImageSource[] _files;

    private InitialRamDisk(ImageSource[] files)
    {
        _files = files;
        foreach (ImageSource file in files)
        {
            Size = Align(Size) + (ulong)file.Length;
        }
    }

    /// <summary>No initramfs.</summary>
    public static InitialRamDisk None { get; } = new([]);

    /// <summary>Bytes of all files with the padding between them; 0 if there is none.</summary>
    public ulong Size { get; }

    /// <summary>The files, in the order given.</summary>
    public ReadOnlySpan<ImageSource> Files => _files;

    /// <param name="paths">The files, in order.</param>
    /// <param name="last">An archive that is in memory already, behind the files; empty for none.</param>
    /// <exception cref="BootException">A file is missing, forbidden, empty or no file.</exception>
    public static InitialRamDisk Open(IReadOnlyList<string> paths, ReadOnlyMemory<byte> last = default)
    {
        var files = new ImageSource[paths.Count + (last.IsEmpty ? 0 : 1)];
        try
        {
            for (int i = 0; i < paths.Count; i++)
            {
                files[i] = ImageSource.OpenFile(paths[i], "initrd");
            }

            if (!last.IsEmpty)
            {
                files[^1] = ImageSource.FromMemory("of vmm's own", last);
            }
        }
        catch
        {
            Array.ForEach(files, file => file?.Dispose());
            throw;
        }

        return new InitialRamDisk(files);
    }

    /// <summary>First address that a relocatable kernel must not use: where <see cref="Load"/> will put the initramfs, or the end
    /// of low memory if there is none or it does not fit anyway.</summary>
    public ulong KernelLimit(GuestMemory memory, ulong highest)
    {
        ulong limit = Limit(memory, highest);
        ulong start = (limit - Size) & ~(Layout.PageSize - 1);
        return Size == 0 || Size > limit || start < Layout.HighMemory ? memory.Regions[0].End.Value : start;
    }

    /// <summary>Copies it to the highest page-aligned place in low memory that the kernel can reach, as boot.rst
    /// ("ramdisk_image") recommends, so that a kernel that unpacks itself does not overwrite it.</summary>
    /// <param name="memory">Guest memory that is all zeros: the padding is not written.</param>
    /// <param name="kernelEnd">First address behind what the kernel needs.</param>
    /// <param name="highest">initrd_addr_max: the highest address that its last byte may have.</param>
    /// <exception cref="BootException">It does not fit between the two.</exception>
    public GuestAddress Load(GuestMemory memory, GuestAddress kernelEnd, ulong highest)
    {
        ulong limit = Limit(memory, highest);
        ulong room = limit > kernelEnd.Value ? limit - kernelEnd.Value : 0;
        ulong start = (limit - Size) & ~(Layout.PageSize - 1);
        if (Size > room || start < kernelEnd.Value)
        {
            throw new BootException(
                $"initrd {string.Join(" + ", _files.Select(file => file.Name))}: of {Size} bytes does not fit in the "
                + $"{room} bytes between the kernel and 0x{limit:x}: give more --mem or a smaller initrd");
        }

        ulong position = start;
        foreach (ImageSource file in _files)
        {
            position = Align(position);
            file.CopyTo(0, (ulong)file.Length, memory, new GuestAddress(position));
            position += (ulong)file.Length;
        }

        return new GuestAddress(start);
    }

    private static ulong Limit(GuestMemory memory, ulong highest) =>
        Math.Min(memory.Regions[0].End.Value, highest == ulong.MaxValue ? highest : highest + 1);

    public void Dispose() => Array.ForEach(_files, file => file.Dispose());

    private static ulong Align(ulong value) => (value + Alignment - 1) & ~(Alignment - 1);
}
