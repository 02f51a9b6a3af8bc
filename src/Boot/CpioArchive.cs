using System.Globalization;
using System.Text;

namespace Vmm.Boot;

/// <summary>An initramfs made in memory: a cpio archive in the "newc" format (Linux:
/// driver-api/early-userspace/buffer-format). Directories come before what is in them.</summary>
/// <param name="capacity">The expected size in bytes, or a little more: then it is not copied as it grows.</param>
public sealed class CpioArchive(int capacity = 0) : IDisposable
{
    private const uint RegularFile = 0x8000, DirectoryEntry = 0x4000, SymbolicLink = 0xa000, CharacterDevice = 0x2000;
    private const uint Executable = 0x1ed, Readable = 0x1a4, All = 0x1ff, Private = 0x180;      // 755, 644, 777, 600

    private readonly MemoryStream _bytes = new(capacity);
    private uint _inode = 1;

    /// <summary>A file that may be executed.</summary>
    public CpioArchive Program(string path, ReadOnlySpan<byte> content) => Add(path, RegularFile | Executable, content);

    /// <summary>An executable file whose content is the rest of a stream, read without a copy in between.</summary>
    public CpioArchive Program(string path, Stream content) => Add(path, RegularFile | Executable, content);

    /// <inheritdoc cref="Program(string, Stream)"/>
    public CpioArchive File(string path, Stream content) => Add(path, RegularFile | Readable, content);

    /// <summary>A file that is only read.</summary>
    public CpioArchive File(string path, ReadOnlySpan<byte> content) => Add(path, RegularFile | Readable, content);

    public CpioArchive Directory(string path) => Add(path, DirectoryEntry | Executable, []);

    /// <summary>A directory for everybody, as /tmp is.</summary>
    public CpioArchive SharedDirectory(string path) => Add(path, DirectoryEntry | 0x200 | All, []);

    /// <param name="path">The link.</param>
    /// <param name="target">Where it leads.</param>
    public CpioArchive Link(string path, string target) => Add(path, SymbolicLink | All, Encoding.UTF8.GetBytes(target));

    /// <summary>A character device.</summary>
    public CpioArchive Device(string path, uint major, uint minor) => Add(path, CharacterDevice | Private, [], major, minor);

    /// <summary>The archive, with its trailer, in place: nothing can be added any more.</summary>
    public ReadOnlyMemory<byte> Finish()
    {
        Add("TRAILER!!!", 0, []);
        return _bytes.GetBuffer().AsMemory(0, (int)_bytes.Length);
    }

    public void Dispose() => _bytes.Dispose();

    private CpioArchive Add(string path, uint mode, ReadOnlySpan<byte> content, uint major = 0, uint minor = 0)
    {
        AddHead(path, mode, (uint)content.Length, major, minor);
        _bytes.Write(content);
        Align();
        return this;
    }

    private CpioArchive Add(string path, uint mode, Stream content)
    {
        long length = content.Length - content.Position;
        AddHead(path, mode, (uint)length, 0, 0);
        long start = _bytes.Length;
        content.CopyTo(_bytes);
        _bytes.SetLength(start + length);       // even if the file was changed meanwhile
        _bytes.Position = _bytes.Length;
        Align();
        return this;
    }

    private void AddHead(string path, uint mode, uint length, uint major, uint minor)
    {
        byte[] name = Encoding.UTF8.GetBytes(path + '\0');
        uint[] fields =
        [
            _inode++, mode, 0, 0, 1, 0, length, 0, 0, major, minor, (uint)name.Length, 0,
        ];
        _bytes.Write("070701"u8);
        foreach (uint field in fields)
        {
            _bytes.Write(Encoding.ASCII.GetBytes(field.ToString("X8", CultureInfo.InvariantCulture)));
        }

        _bytes.Write(name);
        Align();
    }

    private void Align()
    {
        while (_bytes.Length % 4 != 0)
        {
            _bytes.WriteByte(0);
        }
    }
}
