using System.Buffers.Binary;
using Vmm.Boot.Tests;

namespace Vmm.Guest.Tests;

/// <summary>Kernel files that are wrong, one of each kind. Boot.Tests tries many more of them on the loader alone.</summary>
internal static class BadKernels
{
    // The setup header of a bzImage (Linux: arch/x86/boot.rst).
    private const int SetupSects = 0x1f1, BootFlag = 0x1fe, Magic = 0x202, Version = 0x206, LoadFlags64 = 0x236,
        PayloadOffset = 0x248, InitSize = 0x260;

    private const ulong LoadAddress = MadeUp.PrefAddress;

    public static byte[] WithoutSetup() => Patched(file => file.AsSpan(Magic, 4).Clear());

    public static byte[] CutInSetup() => MadeUp.BzImage()[..0x230];

    public static byte[] CutBeforeKernel() => MadeUp.BzImage()[..((MadeUp.SetupSects + 1) * 512)];

    public static byte[] CutInKernel() => MadeUp.BzImage()[..^0x800];

    public static byte[] TooManySetupSectors() => Patched(file => file[SetupSects] = 255);

    public static byte[] AbsurdInitSize() => Put(InitSize, 0xffff_f000);

    public static byte[] AbsurdPayload() => Put(PayloadOffset, 0xffff_fff0);

    public static byte[] OldProtocol() => Patched(file => file[Version] = 0);

    public static byte[] Without64BitEntry() => Patched(file => file[LoadFlags64] = 0);

    public static byte[] WithoutBootFlag() => Patched(file => file.AsSpan(BootFlag, 2).Clear());

    public static byte[] CutInElfHeader() => Elf()[..40];

    public static byte[] CutInProgramHeaders() => Elf()[..80];

    public static byte[] CutInSegment() => Elf()[..^0x100];

    public static byte[] Elf32() =>
        MadeUp.Elf32((uint)LoadAddress, new MadeUp.Part(LoadAddress, 0x800, 0x800));

    public static byte[] ElfForArm()
    {
        byte[] file = Elf();
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(18), 183); // EM_AARCH64
        return file;
    }

    public static byte[] ElfRelocatable()
    {
        byte[] file = Elf();
        BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(16), 1);   // ET_REL
        return file;
    }

    public static byte[] OverlappingSegments() => MadeUp.Elf64(
        LoadAddress, new MadeUp.Part(LoadAddress, 0x800, 0x2000), new MadeUp.Part(LoadAddress + 0x1000, 0x400, 0x400));

    public static byte[] WrappingSegment() =>
        MadeUp.Elf64(LoadAddress, new MadeUp.Part(LoadAddress, 0x800, ulong.MaxValue - 0x1000));

    public static byte[] SegmentOutsideMemory() =>
        MadeUp.Elf64(0x40_0000_0000, new MadeUp.Part(0x40_0000_0000, 0x800, 0x800));

    public static byte[] SegmentTooLarge() =>
        MadeUp.Elf64(LoadAddress, new MadeUp.Part(LoadAddress, 0x800, 1UL << 30));

    public static byte[] InitSizeTooLarge() => Put(InitSize, 512 << 20);

    private static byte[] Elf() => MadeUp.Elf64(LoadAddress, new MadeUp.Part(LoadAddress, 0x800, 0x800));

    private static byte[] Put(int offset, uint value) =>
        Patched(file => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(offset), value));

    private static byte[] Patched(Action<byte[]> patch)
    {
        byte[] file = MadeUp.BzImage();
        patch(file);
        return file;
    }
}
