using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vmm.Boot.Kaslr;

/// <summary>The relocation table that a Linux built with CONFIG_RANDOMIZE_BASE has behind its vmlinux, within the same
/// payload (arch/x86/tools/relocs.c, emit_relocs).</summary>
/// <remarks>
/// <code>
/// vmlinux | 0 | 64-bit ... | 0 | inverse 32-bit ... | 0 | 32-bit ...     Linux 3.14 to 6.14
/// vmlinux | 0 | 64-bit ...                          | 0 | 32-bit ...     before and after
/// </code>
/// Each entry is the virtual address, sign-extended from 32 bits, of a value that is to grow by the distance the
/// kernel is moved (to shrink, if inverse). Linux reads the table backwards from its end; vmm knows where the vmlinux
/// ends, so that the number of zeros tells the two formats apart.
/// </remarks>
internal readonly ref struct RelocationTable
{
    /// <summary>__START_KERNEL_map: virtual address 0 of the kernel's own mapping.</summary>
    public const ulong StartKernelMap = 0xffff_ffff_8000_0000;

    private RelocationTable(
        int offset, ReadOnlySpan<int> relocations64, ReadOnlySpan<int> inverse32, ReadOnlySpan<int> relocations32)
    {
        Offset = offset;
        Relocations64 = relocations64;
        Inverse32 = inverse32;
        Relocations32 = relocations32;
    }

    /// <summary>Where it begins in the unpacked payload.</summary>
    public int Offset { get; }

    public ReadOnlySpan<int> Relocations64 { get; }
    public ReadOnlySpan<int> Inverse32 { get; }
    public ReadOnlySpan<int> Relocations32 { get; }

    /// <summary>Entries of all kinds; 0 if there is no table.</summary>
    public int Count => Relocations64.Length + Inverse32.Length + Relocations32.Length;

    /// <summary>Finds the table.</summary>
    /// <param name="unpacked">The whole unpacked payload, which begins with an ELF64 file. The table stays in it.</param>
    /// <param name="table">The table; empty if there is none.</param>
    /// <returns>What is wrong with it, or null.</returns>
    public static string? Find(ReadOnlySpan<byte> unpacked, out RelocationTable table)
    {
        table = default;
        if (EndOfElf(unpacked) is not int start)
        {
            return "has ELF section headers that point outside of it";
        }

        ReadOnlySpan<byte> bytes = unpacked[start..];
        if (bytes.IsEmpty)
        {
            return null;
        }

        const string Strange = "has a relocation table of an unknown form behind its vmlinux";
        if (bytes.Length % sizeof(int) != 0)
        {
            return Strange;
        }

        ReadOnlySpan<int> words = MemoryMarshal.Cast<byte, int>(bytes);
        if (words[0] != 0)
        {
            return Strange;
        }

        words = words[1..];
        int end64 = words.IndexOf(0);
        if (end64 < 0)
        {
            return Strange;
        }

        ReadOnlySpan<int> rest = words[(end64 + 1)..];
        int end32 = rest.IndexOf(0);
        ReadOnlySpan<int> last = end32 < 0 ? rest : rest[(end32 + 1)..];
        if (last.Contains(0))
        {
            return Strange;
        }

        table = new RelocationTable(start, words[..end64], end32 < 0 ? default : rest[..end32], last);
        return null;
    }

    /// <summary>Moves the kernel to other virtual addresses.</summary>
    /// <param name="image">The kernel as it lies in memory, from its lowest physical address on.</param>
    /// <param name="linkedStart">The virtual address that it was linked to have there.</param>
    /// <param name="offset">Bytes to move it up by.</param>
    /// <returns>What is wrong with the table, or null. After an error the image must not be used.</returns>
    public string? Apply(Span<byte> image, ulong linkedStart, ulong offset)
    {
        const string Outside = "has a relocation that points outside the kernel";
        ulong last64 = (ulong)Math.Max(0, image.Length - sizeof(ulong) + 1);
        ulong last32 = (ulong)Math.Max(0, image.Length - sizeof(uint) + 1);
        foreach (int entry in Relocations32)
        {
            ulong at = (ulong)entry - linkedStart;
            if (at >= last32)
            {
                return Outside;
            }

            Span<byte> value = image.Slice((int)at, sizeof(uint));
            BinaryPrimitives.WriteUInt32LittleEndian(value, BinaryPrimitives.ReadUInt32LittleEndian(value) + (uint)offset);
        }

        foreach (int entry in Inverse32)
        {
            ulong at = (ulong)entry - linkedStart;
            if (at >= last32)
            {
                return Outside;
            }

            Span<byte> value = image.Slice((int)at, sizeof(uint));
            BinaryPrimitives.WriteUInt32LittleEndian(value, BinaryPrimitives.ReadUInt32LittleEndian(value) - (uint)offset);
        }

        foreach (int entry in Relocations64)
        {
            ulong at = (ulong)entry - linkedStart;
            if (at >= last64)
            {
                return Outside;
            }

            Span<byte> value = image.Slice((int)at, sizeof(ulong));
            BinaryPrimitives.WriteUInt64LittleEndian(value, BinaryPrimitives.ReadUInt64LittleEndian(value) + offset);
        }

        return null;
    }

    /// <summary>Where the ELF file at the start ends: what its headers describe.</summary>
    private static int? EndOfElf(ReadOnlySpan<byte> unpacked)
    {
        if (!MemoryMarshal.TryRead(unpacked, out Elf64_Ehdr header))
        {
            return null;
        }

        ulong length = (ulong)unpacked.Length;
        ulong end = (ulong)Marshal.SizeOf<Elf64_Ehdr>();
        if (!Include(header.e_phoff, (ulong)header.e_phnum * (uint)Marshal.SizeOf<Elf64_Phdr>(), length, ref end)
            || !Include(header.e_shoff, (ulong)header.e_shnum * (uint)Marshal.SizeOf<Elf64_Shdr>(), length, ref end))
        {
            return null;
        }

        foreach (ref readonly Elf64_Phdr program in Table<Elf64_Phdr>(unpacked, header.e_phoff, header.e_phnum))
        {
            if (!Include(program.p_offset, program.p_filesz, length, ref end))
            {
                return null;
            }
        }

        foreach (ref readonly Elf64_Shdr section in Table<Elf64_Shdr>(unpacked, header.e_shoff, header.e_shnum))
        {
            if (section.sh_type is not (Elf.SHT_NULL or Elf.SHT_NOBITS)
                && !Include(section.sh_offset, section.sh_size, length, ref end))
            {
                return null;
            }
        }

        return (int)end;
    }

    private static ReadOnlySpan<T> Table<T>(ReadOnlySpan<byte> unpacked, ulong offset, int count)
        where T : unmanaged =>
        count == 0 ? default : MemoryMarshal.Cast<byte, T>(unpacked[(int)offset..])[..count];

    private static bool Include(ulong offset, ulong count, ulong length, ref ulong end)
    {
        if (count == 0)
        {
            return true;
        }

        if (count > length || offset > length - count)
        {
            return false;
        }

        end = Math.Max(end, offset + count);
        return true;
    }
}
