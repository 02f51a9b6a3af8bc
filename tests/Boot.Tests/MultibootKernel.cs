using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Boot.Tests;

/// <summary>A multiboot kernel that does something: it checks how it was started, prints what it was told to COM1 and
/// ends the VM by the exit port. Its output is, one a line: "multiboot", the command line, the bytes of memory in hex,
/// the contents of each module.</summary>
internal static class MultibootKernel
{
    /// <summary>Written to port 0xf4 if all is well.</summary>
    public const byte ExitWell = 42;

    /// <summary>Written to port 0xf4 if EAX or the flags of the boot information are wrong.</summary>
    public const byte ExitBad = 13;

    private const uint Magic = 0x1bad_b002;          // of the header (Multiboot 0.6.96, 3.1.2)
    private const uint Base = 0x10_0000;
    private const uint Room = 0x1_0000;              // from its first byte to the top of its stack
    private const ushort Com1 = 0x3f8;
    private const ushort ExitPort = 0xf4;

    // memory, cmdline, mods, mmap (Multiboot 0.6.96, 3.3)
    private const int NeededFlags = 0b100_1101;

    /// <summary>As an ELF32 file whose header is in its segment.</summary>
    public static byte[] Elf()
    {
        byte[] header = Header(3);
        byte[] body = [.. header, .. Code(Base + (uint)header.Length, Base + Room)];
        var part = new MadeUp.Part(Base, (ulong)body.Length, 0x1_0000, Bytes: body);
        return MadeUp.Elf32(Base + (uint)header.Length, part);
    }

    /// <summary>As a flat file that says by itself where it wants to be.</summary>
    /// <param name="at">Its first byte: 64 KiB from there on are its own.</param>
    public static byte[] Flat(uint at = Base)
    {
        const uint HeaderLength = 32;
        byte[] header = Header(0x1_0003, at, at, 0, at + Room, at + HeaderLength);
        return [.. header, .. Code(at + HeaderLength, at + Room)];
    }

    /// <summary>A multiboot header with its checksum.</summary>
    internal static byte[] Header(uint flags, params ReadOnlySpan<uint> fields)
    {
        uint[] words = [Magic, flags, unchecked(0u - Magic - flags), .. fields];
        return [.. words.SelectMany(BitConverter.GetBytes)];
    }

    private static byte[] Code(uint origin, uint stack)
    {
        var a = new Assembler(32);
        Label bad = a.CreateLabel(), end = a.CreateLabel(), hello = a.CreateLabel();
        Label put = a.CreateLabel(), print = a.CreateLabel(), printDigit = a.CreateLabel();

        a.mov(esp, stack);
        a.cmp(eax, 0x2bad_b002);
        a.jne(bad);
        a.mov(ebp, ebx); // the boot information
        a.mov(eax, __dword_ptr[ebp]);
        a.and(eax, NeededFlags);
        a.cmp(eax, NeededFlags);
        a.jne(bad);

        a.call(hello); // pushes the address of the text behind it
        a.db("multiboot\0"u8.ToArray());
        a.Label(ref hello);
        a.pop(esi);
        a.call(print);
        a.mov(esi, __dword_ptr[ebp + 16]); // cmdline
        a.call(print);
        PrintMemory(a, put, printDigit);
        PrintModules(a, put);
        a.mov(al, ExitWell);
        a.jmp(end);

        a.Label(ref bad);
        a.mov(al, ExitBad);
        a.Label(ref end);
        a.mov(dx, ExitPort);
        a.@out(dx, al);
        Label halt = a.CreateLabel();
        a.Label(ref halt);
        a.hlt();
        a.jmp(halt);

        Routines(a, ref put, ref print, ref printDigit);
        using var stream = new MemoryStream();
        a.Assemble(new StreamCodeWriter(stream), origin);
        return stream.ToArray();
    }

    /// <summary>Walks the memory map and prints the sum of what is RAM, in eight hexadecimal digits.</summary>
    private static void PrintMemory(Assembler a, Label put, Label printDigit)
    {
        Label next = a.CreateLabel(), skip = a.CreateLabel(), done = a.CreateLabel(), digit = a.CreateLabel();
        a.xor(edi, edi);
        a.mov(esi, __dword_ptr[ebp + 48]); // mmap_addr
        a.mov(ecx, __dword_ptr[ebp + 44]); // mmap_length
        a.add(ecx, esi);
        a.Label(ref next);
        a.cmp(esi, ecx);
        a.jae(done);
        a.cmp(__dword_ptr[esi + 20], 1); // type: RAM
        a.jne(skip);
        a.add(edi, __dword_ptr[esi + 12]);
        a.Label(ref skip);
        a.add(esi, __dword_ptr[esi]); // size, which does not count itself
        a.add(esi, 4);
        a.jmp(next);
        a.Label(ref done);

        a.mov(ecx, 8);
        a.Label(ref digit);
        a.rol(edi, 4);
        a.mov(eax, edi);
        a.and(eax, 15);
        a.call(printDigit);
        a.dec(ecx);
        a.jnz(digit);
        a.mov(al, (byte)'\n');
        a.call(put);
    }

    private static void PrintModules(Assembler a, Label put)
    {
        Label next = a.CreateLabel(), letter = a.CreateLabel(), line = a.CreateLabel(), done = a.CreateLabel();
        a.mov(edi, __dword_ptr[ebp + 24]); // mods_addr
        a.mov(ecx, __dword_ptr[ebp + 20]); // mods_count
        a.Label(ref next);
        a.test(ecx, ecx);
        a.je(done);
        a.mov(esi, __dword_ptr[edi]); // mod_start
        a.Label(ref letter);
        a.cmp(esi, __dword_ptr[edi + 4]); // mod_end
        a.jae(line);
        a.mov(al, __byte_ptr[esi]);
        a.inc(esi);
        a.call(put);
        a.jmp(letter);
        a.Label(ref line);
        a.mov(al, (byte)'\n');
        a.call(put);
        a.add(edi, 16);
        a.dec(ecx);
        a.jmp(next);
        a.Label(ref done);
    }

    private static void Routines(Assembler a, ref Label put, ref Label print, ref Label printDigit)
    {
        // put: prints AL when the transmitter has room (LSR bit 5). Spoils EAX, EBX, EDX.
        Label wait = a.CreateLabel();
        a.Label(ref put);
        a.mov(bl, al);
        a.Label(ref wait);
        a.mov(dx, Com1 + 5);
        a.@in(al, dx);
        a.test(al, 0x20);
        a.je(wait);
        a.mov(dx, Com1);
        a.mov(al, bl);
        a.@out(dx, al);
        a.ret();

        // print: the string at ESI and a newline.
        Label end = a.CreateLabel();
        a.Label(ref print);
        a.mov(al, __byte_ptr[esi]);
        a.inc(esi);
        a.test(al, al);
        a.je(end);
        a.call(put);
        a.jmp(print);
        a.Label(ref end);
        a.mov(al, (byte)'\n');
        a.jmp(put);

        // printDigit: the hexadecimal digit in EAX.
        Label decimalDigit = a.CreateLabel();
        a.Label(ref printDigit);
        a.add(al, (byte)'0');
        a.cmp(al, (byte)'9');
        a.jbe(decimalDigit);
        a.add(al, (byte)('a' - '0' - 10));
        a.Label(ref decimalDigit);
        a.jmp(put);
    }
}
