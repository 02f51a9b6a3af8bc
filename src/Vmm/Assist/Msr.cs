namespace Vmm.Assist;

/// <summary>Model-specific registers that the assist reads or writes (Intel SDM volume 4).</summary>
internal static class Msr
{
    public const uint Star = 0xC000_0081, Lstar = 0xC000_0082, Sfmask = 0xC000_0084, FsBase = 0xC000_0100, GsBase = 0xC000_0101,
        KernelGsBase = 0xC000_0102, TscAux = 0xC000_0103, Tsc = 0x10, UCet = 0x6A0, SCet = 0x6A2, Pl0Ssp = 0x6A4,
        Pl1Ssp = 0x6A5, Pl2Ssp = 0x6A6, Pl3Ssp = 0x6A7, Xss = 0xDA0;
}
