namespace Vmm.Boot;

/// <summary>Recognises programs for EFI and Windows by their headers ("PE Format" of Microsoft's documentation; UEFI 2.10,
/// 2.1.1), because users give them as kernels. A bzImage with an EFI stub is none of these: its setup header goes
/// first.</summary>
internal static class PortableExecutable
{
    private const ushort Mz = 0x5a4d;
    private const uint Pe = 0x0000_4550;            // "PE\0\0"
    private const int HeaderPointer = 0x3c;
    private const int CoffLength = 20, SectionLength = 40, NameLength = 8;
    private const int MostSections = 96;            // what Windows loads at most
    private const int SubsystemOffset = 68;         // in the optional header, of 32 and 64 bits alike
    private const ushort EfiApplication = 10, EfiRom = 13;
    private const ushort Amd64 = 0x8664, I386 = 0x14c, Arm64 = 0xaa64;

    /// <returns>What it is and what to give instead, to follow the file's name; null if it is none.</returns>
    public static string? Describe(ImageSource source)
    {
        if (!source.TryRead(0, out ushort mz) || mz != Mz || !source.TryRead(HeaderPointer, out uint start)
            || !source.TryRead(start, out uint magic) || magic != Pe)
        {
            return null;
        }

        long coff = start + sizeof(uint);
        if (!source.TryRead(coff, out ushort machine) || !source.TryRead(coff + 2, out ushort sections)
            || !source.TryRead(coff + 16, out ushort optionalLength)
            || !source.TryRead(coff + CoffLength + SubsystemOffset, out ushort subsystem))
        {
            return null;
        }

        if (HasLinuxSection(source, coff + CoffLength + optionalLength, sections))
        {
            return "is a unified kernel image (UKI) for EFI firmware, and there is none here: take the kernel out of it, "
                + $"objcopy --dump-section .linux=vmlinuz {source.Name}, and give that (.initrd and .cmdline likewise)";
        }

        return subsystem is >= EfiApplication and <= EfiRom
            ? $"is an EFI program{For(machine)}, and there is no EFI firmware here: give a bzImage or a vmlinux"
            : $"is a Windows program{For(machine)}: give a bzImage or a vmlinux";
    }

    /// <summary>Has it the section of a unified kernel image (UAPI.5) that holds the kernel?</summary>
    private static bool HasLinuxSection(ImageSource source, long table, int count)
    {
        Span<byte> name = stackalloc byte[NameLength];
        for (int i = 0; i < Math.Min(count, MostSections); i++)
        {
            if (!source.TryRead(table + (i * SectionLength), name))
            {
                return false;
            }

            if (name.SequenceEqual(".linux\0\0"u8))
            {
                return true;
            }
        }

        return false;
    }

    private static string For(ushort machine) => machine switch
    {
        Amd64 => " for x86-64",
        I386 => " for 32-bit x86",
        Arm64 => " for arm64",
        _ => "",
    };
}
