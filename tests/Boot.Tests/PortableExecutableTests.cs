using System.Text;

namespace Vmm.Boot.Tests;

/// <summary>Programs for EFI and Windows, which people give as kernels.</summary>
public sealed class PortableExecutableTests
{
    private const ushort Amd64 = 0x8664, Arm64 = 0xaa64;

    [Fact]
    public void An_EFI_program_is_recognised()
    {
        Assert.Contains("is an EFI program for x86-64, and there is no EFI firmware here", Wrong(Amd64, 10), StringComparison.Ordinal);
        Assert.Contains("is an EFI program for arm64", Wrong(Arm64, 12), StringComparison.Ordinal);
        Assert.Contains("is an EFI program,", Wrong(0x1234, 11), StringComparison.Ordinal);
        Assert.Contains("is a Windows program for x86-64", Wrong(Amd64, 3), StringComparison.Ordinal);
    }

    [Fact]
    public void A_unified_kernel_image_is_reported_with_a_remedy()
    {
        string wrong = Wrong(Amd64, 10, ".text", ".osrel", ".cmdline", ".linux", ".initrd");
        Assert.Contains("unified kernel image (UKI)", wrong, StringComparison.Ordinal);
        Assert.Contains("objcopy --dump-section .linux=vmlinuz it", wrong, StringComparison.Ordinal);
        Assert.Contains("is an EFI program", Wrong(Amd64, 10, ".linuxes"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_bzImage_with_an_EFI_stub_is_a_bzImage()
    {
        byte[] file = MadeUp.BzImage();
        File(Amd64, 10).CopyTo(file, 0);
        using KernelImage kernel = MadeUp.Open(file);
        Assert.Equal(KernelKind.BzImage, kernel.Kind);
    }

    [Fact]
    public void Cut_or_damaged_it_is_no_kernel()
    {
        byte[] whole = File(Amd64, 10, ".linux");
        for (int length = 1; length < whole.Length; length++)
        {
            MadeUp.Wrong(whole[..length]);
        }

        Assert.Contains("no kernel that vmm knows", MadeUp.Wrong(whole.With(0x3c, uint.MaxValue)), StringComparison.Ordinal);
        Assert.Contains("no kernel that vmm knows", MadeUp.Wrong(whole.With(0x80, 0u)), StringComparison.Ordinal);
        MadeUp.Wrong(whole.With(0x86, ushort.MaxValue));
    }

    private static string Wrong(ushort machine, ushort subsystem, params string[] sections) =>
        MadeUp.Wrong(File(machine, subsystem, sections));

    /// <summary>PE32+ headers with a table of sections.</summary>
    private static byte[] File(ushort machine, ushort subsystem, params string[] sections)
    {
        const int Start = 0x80, Optional = 240;
        byte[] file = new byte[Start + 24 + Optional + (40 * sections.Length)];
        for (int i = 0; i < sections.Length; i++)
        {
            byte[] name = Encoding.ASCII.GetBytes(sections[i]);
            name.AsSpan(0, Math.Min(8, name.Length)).CopyTo(file.AsSpan(Start + 24 + Optional + (40 * i)));
        }

        return file.With(0, (ushort)0x5a4d).With(0x3c, Start).With(Start, 0x4550u).With(Start + 4, machine)
            .With(Start + 6, (ushort)sections.Length).With(Start + 20, (ushort)Optional)
            .With(Start + 24, (ushort)0x20b).With(Start + 24 + 68, subsystem);
    }
}
