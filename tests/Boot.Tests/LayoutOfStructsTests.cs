using Vmm.Tests.Shared;

namespace Vmm.Boot.Tests;

public sealed class LayoutOfStructsTests
{
    [Fact]
    public void Boot_params_agree_with_the_C_compiler()
    {
        CLayout layout = new CLayout("asm/bootparam.h")
            .Struct<BootParams>("struct boot_params")
            .Struct<SetupHeader>("struct setup_header")
            .Struct<BootE820Entry>("struct boot_e820_entry")
            .Struct<SetupData>("struct setup_data")
            .Constant("E820_MAX_ENTRIES_ZEROPAGE", E820Table.MaxEntries)
            .Constant("SETUP_RNG_SEED", SetupData.SETUP_RNG_SEED)
            .Constant("LOADED_HIGH", SetupHeader.LOADED_HIGH)
            .Constant("KASLR_FLAG", SetupHeader.KASLR_FLAG)
            .Constant("XLF_KERNEL_64", SetupHeader.XLF_KERNEL_64)
            .Constant("offsetof(struct boot_params, hdr)", SetupHeader.FileOffset);
        Assert.True(layout.Count > 100);
        layout.Judge();
    }

    [Fact]
    public void Elf_structures_agree_with_the_C_compiler()
    {
        (string, string)[] ident =
        [
            ("e_magic", ""), // four bytes of e_ident as one number
            ("e_class", "e_ident[EI_CLASS]"), ("e_data", "e_ident[EI_DATA]"),
            ("e_ident_version", "e_ident[EI_VERSION]"), ("e_osabi", "e_ident[EI_OSABI]"), ("e_pad", ""),
        ];
        new CLayout("elf.h")
            .Struct<Elf64_Ehdr>("Elf64_Ehdr", ident)
            .Struct<Elf64_Phdr>("Elf64_Phdr")
            .Struct<Elf64_Shdr>("Elf64_Shdr")
            .Struct<Elf32_Ehdr>("Elf32_Ehdr", ident)
            .Struct<Elf32_Phdr>("Elf32_Phdr")
            .Struct<Elf_Nhdr>("Elf64_Nhdr")
            .Struct<Elf_Nhdr>("Elf32_Nhdr")
            .Judge();
    }

    [Fact]
    public void A_wrong_layout_does_not_pass()
    {
        var error = Assert.Throws<InvalidOperationException>(
            () => new CLayout("elf.h").Struct<Elf32_Phdr>("Elf64_Phdr").Judge());
        Assert.Contains("offset of p_offset in Elf64_Phdr", error.Message, StringComparison.Ordinal);
    }
}
