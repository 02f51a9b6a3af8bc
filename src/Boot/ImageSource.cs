using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>The bytes of a kernel or an initramfs, wherever they are. Parsers read small structures out of it with
/// bounds checked; loaders copy large parts straight into guest memory.</summary>
public abstract class ImageSource : IDisposable
{
    private protected ImageSource(string name, long length)
    {
        Name = name;
        Length = length;
    }

    /// <summary>Its name in messages: the path that the user gave.</summary>
    public string Name { get; }

    /// <summary>Bytes.</summary>
    public long Length { get; private protected set; }

    /// <summary>Opens a regular file or a block device.</summary>
    /// <param name="path">The file.</param>
    /// <param name="role">What it is to the user ("kernel", "initrd"), for messages.</param>
    /// <exception cref="BootException">It is missing, forbidden, empty, a directory or neither of them.</exception>
    public static ImageSource OpenFile(string path, string role) => FileImageSource.Open(path, role);

    /// <summary>Bytes that are in memory already, such as an unpacked kernel. They belong to the caller.</summary>
    public static ImageSource FromMemory(string name, ReadOnlyMemory<byte> bytes) => new MemoryImageSource(name, bytes);

    /// <summary>Copies bytes out: as many as fit <paramref name="destination"/>, or false and nothing.</summary>
    public bool TryRead(long offset, Span<byte> destination) =>
        offset >= 0 && offset <= Length && destination.Length <= Length - offset && ReadCore(offset, destination);

    /// <summary>Copies one structure out.</summary>
    public bool TryRead<T>(long offset, out T value)
        where T : unmanaged
    {
        Unsafe.SkipInit(out value);
        return TryRead(offset, MemoryMarshal.AsBytes(new Span<T>(ref value)));
    }

    /// <summary>Copies a part into guest memory.</summary>
    /// <exception cref="BootException">The source has become shorter since it was opened.</exception>
    /// <exception cref="GuestMemoryException">The range is not all memory.</exception>
    public void CopyTo(long offset, ulong length, GuestMemory memory, GuestAddress address)
    {
        if (offset < 0 || offset > Length || length > (ulong)(Length - offset)
            || CopyCore(offset, length, memory, address) != length)
        {
            throw new BootException($"{Name}: became shorter while it was read");
        }
    }

    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    private protected abstract bool ReadCore(long offset, Span<byte> destination);

    private protected abstract ulong CopyCore(long offset, ulong length, GuestMemory memory, GuestAddress address);

    protected virtual void Dispose(bool disposing)
    {
    }
}
