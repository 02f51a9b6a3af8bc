namespace Vmm.Assist;

/// <summary>Bits of the system registers that the assist looks at (Intel SDM volume 3, section 2.3 to 2.6).</summary>
internal static class Bits
{
    public const ulong FlagCf = 1 << 0, FlagPf = 1 << 2, FlagAf = 1 << 4, FlagZf = 1 << 6, FlagSf = 1 << 7,
        FlagTf = 1 << 8, FlagIf = 1 << 9, FlagDf = 1 << 10, FlagOf = 1 << 11, FlagNt = 1 << 14, FlagRf = 1 << 16,
        FlagVm = 1 << 17, FlagAc = 1 << 18;

    /// <summary>The six status flags: CF, PF, AF, ZF, SF, OF.</summary>
    public const ulong StatusFlags = FlagCf | FlagPf | FlagAf | FlagZf | FlagSf | FlagOf;

    public const ulong Cr0Pe = 1 << 0, Cr0Mp = 1 << 1, Cr0Em = 1 << 2, Cr0Ts = 1 << 3, Cr0Wp = 1 << 16,
        Cr0Pg = 1UL << 31;

    public const ulong Cr4Pse = 1 << 4, Cr4Pae = 1 << 5, Cr4OsFxsr = 1 << 9, Cr4OsXmmExcpt = 1 << 10,
        Cr4La57 = 1 << 12, Cr4FsGsBase = 1 << 16, Cr4OsXsave = 1 << 18, Cr4Smep = 1 << 20, Cr4Smap = 1 << 21,
        Cr4Pke = 1 << 22;

    public const ulong EferLma = 1 << 10, EferNxe = 1 << 11, EferFfxsr = 1 << 14;
}
