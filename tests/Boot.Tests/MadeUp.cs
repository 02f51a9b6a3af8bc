using System.Runtime.InteropServices;

namespace Vmm.Boot.Tests;

/// <summary>Made-up kernels: right in every structure, without a useful instruction in them.</summary>
internal static class MadeUp
{
    public const ulong PrefAddress = 0x100_0000;
    public const int SetupSects = 5;
    public const int KernelLength = 0x1000;
    public const int PayloadOffset = 0x300;
    public const int PayloadLength = 0x400;

    /// <summary>A bzImage of Linux 6.1's kind, whose protected-mode part is filled with a pattern.</summary>
    public static byte[] BzImage(int kernelLength = KernelLength)
    {
        const int SetupLength = (SetupSects + 1) * 512;
        byte[] file = new byte[SetupLength + kernelLength];
        for (int i = SetupLength; i < file.Length; i++)
        {
            file[i] = Pattern(i - SetupLength);
        }

        file[0x1f1] = SetupSects;
        Put(file, 0x1f4, (uint)((kernelLength + 15) / 16)); // syssize
        Put(file, 0x1fe, (ushort)0xaa55); // boot_flag
        Put(file, 0x200, (ushort)0x6aeb); // jump: the header ends at 0x26c
        Put(file, 0x202, 0x5372_6448u); // "HdrS"
        Put(file, 0x206, (ushort)0x020f); // version
        file[0x211] = 1; // loadflags: LOADED_HIGH
        Put(file, 0x214, 0x10_0000u); // code32_start
        Put(file, 0x22c, 0x7fff_ffffu); // initrd_addr_max
        Put(file, 0x230, 0x20_0000u); // kernel_alignment
        file[0x234] = 1; // relocatable_kernel
        file[0x235] = 21; // min_alignment
        Put(file, 0x236, (ushort)0x3f); // xloadflags
        Put(file, 0x238, 2047u); // cmdline_size
        Put(file, 0x248, (uint)PayloadOffset);
        Put(file, 0x24c, (uint)PayloadLength);
        Put(file, 0x258, PrefAddress);
        Put(file, 0x260, 0x20_0000u); // init_size
        return file;
    }

    /// <summary>What the made-up kernels hold at an offset.</summary>
    public static byte Pattern(int offset) => (byte)(offset * 7 + (offset >> 8) + 1);

    /// <summary>One program header and what it is for: FileSize bytes of pattern, or of Bytes.</summary>
    public sealed record Part(ulong Physical, ulong FileSize, ulong MemorySize, uint Type = 1, byte[]? Bytes = null);

    /// <summary>A vmlinux with two segments, a bss and notes.</summary>
    public static byte[] Vmlinux(byte[]? notes = null) => Elf64(
        0x100_0010,
        new Part(0x100_0000, 0x800, 0x800),
        new Part(0x120_0000, 0x400, 0x3000),
        new Part(0, (ulong)(notes?.Length ?? 0), 0, Type: 4, notes ?? []));

    /// <summary>An ELF64 executable for x86-64: headers, then the parts' bytes one after another.</summary>
    public static byte[] Elf64(ulong entry, params Part[] parts)
    {
        var header = new Elf64_Ehdr
        {
            e_magic = 0x464c_457f,
            e_class = 2,
            e_data = 1,
            e_ident_version = 1,
            e_type = 2,
            e_machine = 62,
            e_version = 1,
            e_entry = entry,
            e_phoff = 64,
            e_ehsize = 64,
            e_phentsize = 56,
            e_phnum = (ushort)parts.Length,
        };
        int offset = 64 + (56 * parts.Length);
        byte[] file = new byte[offset + parts.Sum(part => (int)part.FileSize)];
        MemoryMarshal.Write(file, header);
        for (int i = 0; i < parts.Length; i++)
        {
            var program = new Elf64_Phdr
            {
                p_type = parts[i].Type,
                p_flags = 5,
                p_offset = (ulong)offset,
                p_vaddr = parts[i].Physical + 0xffff_ffff_8000_0000,
                p_paddr = parts[i].Physical,
                p_filesz = parts[i].FileSize,
                p_memsz = parts[i].MemorySize,
                p_align = 4,
            };
            MemoryMarshal.Write(file.AsSpan(64 + (56 * i)), program);
            offset = Fill(file, offset, parts[i]);
        }

        return file;
    }

    /// <summary>The same as ELF32 for i386.</summary>
    public static byte[] Elf32(uint entry, params Part[] parts)
    {
        var header = new Elf32_Ehdr
        {
            e_magic = 0x464c_457f,
            e_class = 1,
            e_data = 1,
            e_ident_version = 1,
            e_type = 2,
            e_machine = 3,
            e_version = 1,
            e_entry = entry,
            e_phoff = 52,
            e_ehsize = 52,
            e_phentsize = 32,
            e_phnum = (ushort)parts.Length,
        };
        int offset = 52 + (32 * parts.Length);
        byte[] file = new byte[offset + parts.Sum(part => (int)part.FileSize)];
        MemoryMarshal.Write(file, header);
        for (int i = 0; i < parts.Length; i++)
        {
            var program = new Elf32_Phdr
            {
                p_type = parts[i].Type,
                p_offset = (uint)offset,
                p_vaddr = (uint)parts[i].Physical,
                p_paddr = (uint)parts[i].Physical,
                p_filesz = (uint)parts[i].FileSize,
                p_memsz = (uint)parts[i].MemorySize,
                p_flags = 5,
                p_align = 4,
            };
            MemoryMarshal.Write(file.AsSpan(52 + (32 * i)), program);
            offset = Fill(file, offset, parts[i]);
        }

        return file;
    }

    /// <summary>One ELF note, padded to 4 bytes.</summary>
    public static byte[] Note(string owner, uint type, params byte[] descriptor)
    {
        byte[] name = [.. System.Text.Encoding.ASCII.GetBytes(owner), 0];
        byte[] note = new byte[12 + Padded(name.Length) + Padded(descriptor.Length)];
        Put(note, 0, (uint)name.Length);
        Put(note, 4, (uint)descriptor.Length);
        Put(note, 8, type);
        name.CopyTo(note, 12);
        descriptor.CopyTo(note, 12 + Padded(name.Length));
        return note;
    }

    /// <summary>A copy with one value changed.</summary>
    public static byte[] With<T>(this byte[] file, int offset, T value)
        where T : unmanaged
    {
        byte[] changed = [.. file];
        MemoryMarshal.Write(changed.AsSpan(offset), value);
        return changed;
    }

    /// <summary>Opens bytes as a kernel called "it".</summary>
    public static KernelImage Open(byte[] file) => KernelImage.Parse(ImageSource.FromMemory("it", file));

    /// <summary>What is wrong with bytes, which must be wrong: one line that names the file.</summary>
    public static string Wrong(byte[] file)
    {
        var error = Assert.Throws<BootException>(() => Open(file));
        Assert.StartsWith("kernel it: ", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
        return error.Message;
    }

    private static int Fill(byte[] file, int offset, Part part)
    {
        for (int i = 0; i < (int)part.FileSize; i++)
        {
            file[offset + i] = part.Bytes is null ? Pattern(i) : part.Bytes[i];
        }

        return offset + (int)part.FileSize;
    }

    private static int Padded(int length) => (length + 3) & ~3;

    private static void Put<T>(byte[] file, int offset, T value)
        where T : unmanaged => MemoryMarshal.Write(file.AsSpan(offset), value);
}
