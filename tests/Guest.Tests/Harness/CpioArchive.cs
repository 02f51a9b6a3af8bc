using System.Globalization;
using System.Text;

namespace Vmm.Guest.Tests.Harness;

/// <summary>An initramfs: a cpio archive in the "newc" format (Linux: driver-api/early-userspace/buffer-format).</summary>
internal sealed class CpioArchive : IDisposable
{
    private const uint RegularFile = 0x8000, DirectoryEntry = 0x4000, SymbolicLink = 0xa000, CharacterDevice = 0x2000;
    private readonly MemoryStream _bytes = new();
    private uint _inode = 1;

    public CpioArchive Program(string path, ReadOnlySpan<byte> content) => Add(path, RegularFile | 0x1ed, content);

    public CpioArchive Program(string path, string script) =>
        Program(path, Encoding.UTF8.GetBytes(script.ReplaceLineEndings("\n")));

    public CpioArchive Directory(string path) => Add(path, DirectoryEntry | 0x1ed, []);

    public CpioArchive Link(string path, string target) =>
        Add(path, SymbolicLink | 0x1ff, Encoding.UTF8.GetBytes(target));

    public CpioArchive Device(string path, uint major, uint minor) =>
        Add(path, CharacterDevice | 0x180, [], major, minor);

    /// <summary>The archive, with its trailer.</summary>
    public byte[] ToArray()
    {
        Add("TRAILER!!!", 0, []);
        return _bytes.ToArray();
    }

    public void Dispose() => _bytes.Dispose();

    private CpioArchive Add(string path, uint mode, ReadOnlySpan<byte> content, uint major = 0, uint minor = 0)
    {
        byte[] name = Encoding.UTF8.GetBytes(path + '\0');
        uint[] fields =
        [
            _inode++, mode, 0, 0, 1, 0, (uint)content.Length, 0, 0, major, minor, (uint)name.Length, 0,
        ];
        _bytes.Write("070701"u8);
        foreach (uint field in fields)
        {
            _bytes.Write(Encoding.ASCII.GetBytes(field.ToString("X8", CultureInfo.InvariantCulture)));
        }

        _bytes.Write(name);
        Align();
        _bytes.Write(content);
        Align();
        return this;
    }

    private void Align()
    {
        while (_bytes.Length % 4 != 0)
        {
            _bytes.WriteByte(0);
        }
    }
}
