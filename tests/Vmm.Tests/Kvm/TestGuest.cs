using System.Buffers.Binary;
using Iced.Intel;

namespace Vmm.Tests.Kvm;

/// <summary>A guest of a few instructions, assembled by the test: an ELF file that starts at 1 MiB in long mode, with
/// the first 4 GiB mapped one to one and a stack.</summary>
internal sealed class TestGuest : IDisposable
{
    public const ulong LoadAddress = 0x10_0000;
    private const int HeadersLength = 64 + 56;
    private readonly string _path = System.IO.Path.GetTempFileName();

    /// <param name="program">Emits the code.</param>
    public TestGuest(Action<Assembler> program)
    {
        var assembler = new Assembler(64);
        program(assembler);
        using var code = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(code), LoadAddress);
        File.WriteAllBytes(_path, [.. Headers((ulong)code.Length), .. code.ToArray()]);
    }

    /// <summary>The ELF file.</summary>
    public string Path => _path;

    public void Dispose() => File.Delete(_path);

    /// <summary>Elf64_Ehdr and one Elf64_Phdr (System V ABI, chapters 4 and 5).</summary>
    private static byte[] Headers(ulong length)
    {
        byte[] headers = new byte[HeadersLength];
        Span<byte> file = headers;
        ((ReadOnlySpan<byte>)[0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1]).CopyTo(file);
        BinaryPrimitives.WriteUInt16LittleEndian(file[16..], 2);            // ET_EXEC
        BinaryPrimitives.WriteUInt16LittleEndian(file[18..], 62);           // EM_X86_64
        BinaryPrimitives.WriteUInt32LittleEndian(file[20..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(file[24..], LoadAddress);  // e_entry
        BinaryPrimitives.WriteUInt64LittleEndian(file[32..], 64);           // e_phoff
        BinaryPrimitives.WriteUInt16LittleEndian(file[52..], 64);
        BinaryPrimitives.WriteUInt16LittleEndian(file[54..], 56);
        BinaryPrimitives.WriteUInt16LittleEndian(file[56..], 1);            // one program header
        Span<byte> segment = file[64..];
        BinaryPrimitives.WriteUInt32LittleEndian(segment, 1);               // PT_LOAD
        BinaryPrimitives.WriteUInt32LittleEndian(segment[4..], 7);          // rwx
        BinaryPrimitives.WriteUInt64LittleEndian(segment[8..], HeadersLength);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[16..], LoadAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[24..], LoadAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[32..], length);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[40..], length + 0x10000);
        BinaryPrimitives.WriteUInt64LittleEndian(segment[48..], 0x1000);
        return headers;
    }
}
