using System.Text;
using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Boot.Tests;

public sealed class LinuxLoaderTests() : LoaderTests((0, 32 * Mib))
{
    private const ulong Mib = 1 << 20;

    [Fact]
    public void A_bzImage_that_unpacks_itself_lies_at_its_preferred_address_and_is_entered_at_0x200()
    {
        LoadedGuest guest = Load(MadeUp.BzImage());
        Assert.Equal(MadeUp.PrefAddress + 0x200, guest.Entry.Rip);
        Assert.Equal((new GuestAddress(MadeUp.PrefAddress), 0x20_0000UL), guest.Kernel);
        AssertPattern(MadeUp.PrefAddress, MadeUp.KernelLength);

        BootParams parameters = Parameters();
        Assert.Equal((uint)MadeUp.PrefAddress, parameters.hdr.code32_start);
        Assert.Equal(0x20_0000u, parameters.hdr.init_size);
        Assert.Equal(0xff, parameters.hdr.type_of_loader);
        Assert.Equal(0, parameters.sentinel);
    }

    [Fact]
    public void A_kernel_that_cannot_be_relocated_is_loaded_at_1_MiB()
    {
        LoadedGuest guest = Load(MadeUp.BzImage().With(0x234, (byte)0));
        Assert.Equal(0x10_0200UL, guest.Entry.Rip);
        AssertPattern(0x10_0000, MadeUp.KernelLength);
        Assert.Equal(0x120_0000UL, guest.Kernel.Start.Value + guest.Kernel.Length);
    }

    /// <summary>As memtest86+ 6 is: nothing is packed in it, and nothing is missed.</summary>
    [Fact]
    public void A_kernel_without_a_payload_is_started_as_it_is()
    {
        byte[] file = MadeUp.BzImage().With(0x248, 0UL).With(0x234, (byte)0).With(0x258, 0UL);
        using KernelImage kernel = MadeUp.Open(file);
        LoadedGuest guest = KernelLoader.Load(Memory, kernel, new BootRequest { Unpack = true });
        Assert.Null(guest.Unpacked);
        Assert.Equal(0x10_0200UL, guest.Entry.Rip);
        AssertPattern(0x10_0000, MadeUp.KernelLength);
        Assert.Null(Vmm.Boot.Inspect.KernelInspector.Inspect(kernel, Vmm.Boot.Unpack.SystemLibraries.Default).Problem);
    }

    [Fact]
    public void A_vmlinux_is_entered_at_its_entry_point_with_a_header_made_for_it()
    {
        LoadedGuest guest = Load(MadeUp.Vmlinux());
        Assert.Equal(0x100_0010UL, guest.Entry.Rip);
        AssertPattern(0x100_0000, 0x800);
        AssertPattern(0x120_0000, 0x400);
        Assert.Equal(0, Memory.Read<byte>(new GuestAddress(0x120_0400)));

        SetupHeader header = Parameters().hdr;
        Assert.Equal(SetupHeader.Magic, header.header);
        Assert.Equal(SetupHeader.BootFlag, header.boot_flag);
        Assert.Equal(SetupHeader.LOADED_HIGH, header.loadflags);
        Assert.Equal(0xff, header.type_of_loader);
    }

    [Fact]
    public void The_first_vCPU_is_in_long_mode_with_flat_segments_and_its_memory_mapped_to_itself()
    {
        EntryState entry = Load(MadeUp.Vmlinux()).Entry;
        Assert.Equal(0x8000_0011UL, entry.Cr0);
        Assert.Equal(0x20UL, entry.Cr4);
        Assert.Equal(0x500UL, entry.Efer);
        Assert.Equal(2UL, entry.Rflags);
        Assert.Equal(Layout.BootParams, entry.Rsi);
        Assert.Equal(0x10, entry.Code.Selector);
        Assert.Equal(0x18, entry.Data.Selector);
        Assert.Equal((1, 0), (entry.Code.L, entry.Code.Db));

        // The descriptors as the Intel manual draws them.
        Assert.Equal(0x00af_9b00_0000_ffffUL, Memory.Read<ulong>(new GuestAddress(entry.GdtBase + 0x10)));
        Assert.Equal(0x00cf_9300_0000_ffffUL, Memory.Read<ulong>(new GuestAddress(entry.GdtBase + 0x18)));
        Assert.Equal(0x0000_8b00_0000_0067UL, Memory.Read<ulong>(new GuestAddress(entry.GdtBase + 0x20)));
        Assert.Equal(47, entry.GdtLimit);

        foreach (ulong address in new ulong[] { 0, 0x7123, 0x100_0010, 0x3fff_ffff, 0x4000_0000, 0xffff_ffff })
        {
            Assert.Equal(address, Walk(entry.Cr3, address));
        }

        Assert.Null(Walk(entry.Cr3, 0x1_0000_0000));
    }

    [Fact]
    public void The_command_line_is_written_and_must_fit()
    {
        string longest = new('x', 2047);
        Load(MadeUp.BzImage(), new BootRequest { CommandLine = longest });
        byte[] bytes = new byte[2048];
        Memory.Read(new GuestAddress(Parameters().hdr.cmd_line_ptr), bytes);
        Assert.Equal(longest + '\0', Encoding.ASCII.GetString(bytes));

        foreach (byte[] kernel in new[] { MadeUp.BzImage(), MadeUp.Vmlinux() })
        {
            AssertRefused(kernel, new BootRequest { CommandLine = longest + "x" }, "is 2048 bytes long, kernel");
        }

        Assert.Throws<BootException>(() => Load(MadeUp.BzImage(), new BootRequest { CommandLine = "a\0b" }));
        byte[] huge = MadeUp.BzImage().With(0x238, uint.MaxValue); // cmdline_size
        Assert.Throws<BootException>(() => Load(huge, new BootRequest { CommandLine = new('x', 0x1_0000) }));
    }

    [Fact]
    public void An_initramfs_lies_as_high_as_it_may()
    {
        string path = Files.Write(new byte[5000]);
        LoadedGuest guest = Load(MadeUp.BzImage(), new BootRequest { Initrd = InitialRamDisk.Open([path]) });
        Assert.Equal((new GuestAddress((32 * Mib) - 0x2000), 5000UL), guest.Initrd);
        SetupHeader header = Parameters().hdr;
        Assert.Equal(((uint)guest.Initrd.Start.Value, 5000u), (header.ramdisk_image, header.ramdisk_size));

        byte[] lower = MadeUp.BzImage().With(0x22c, 0x17f_ffffu); // initrd_addr_max
        Assert.Equal(0x17f_e000UL, Load(lower, new BootRequest { Initrd = InitialRamDisk.Open([path]) }).Initrd.Start.Value);
    }

    [Fact]
    public void Several_initramfs_files_follow_each_other_aligned_to_four_bytes_and_unchanged()
    {
        string[] paths = [Files.Write([1, 2, 3, 4, 5]), Files.Write([6]), Files.Write([7, 8])];
        LoadedGuest guest = Load(MadeUp.Vmlinux(), new BootRequest { Initrd = InitialRamDisk.Open(paths) });
        byte[] bytes = new byte[guest.Initrd.Length];
        Memory.Read(guest.Initrd.Start, bytes);
        Assert.Equal([1, 2, 3, 4, 5, 0, 0, 0, 6, 0, 0, 0, 7, 8], bytes);
    }

    [Fact]
    public void An_initramfs_that_does_not_fit_is_refused()
    {
        string fits = Files.WriteSparse((long)((32 - 18) * Mib));
        Load(MadeUp.BzImage(), new BootRequest { Initrd = InitialRamDisk.Open([fits]) });

        string tooLarge = Files.WriteSparse((long)((32 - 18) * Mib) + 1);
        AssertRefused(MadeUp.BzImage(), new BootRequest { Initrd = InitialRamDisk.Open([tooLarge]) }, "give more --mem");
        string huge = Files.WriteSparse(1L << 40);
        AssertRefused(MadeUp.BzImage(), new BootRequest { Initrd = InitialRamDisk.Open([huge]) }, "give more --mem");
        byte[] cannotReach = MadeUp.BzImage().With(0x22c, 0xfffu); // initrd_addr_max: the first page
        AssertRefused(cannotReach, new BootRequest { Initrd = InitialRamDisk.Open([fits]) }, "does not fit in the 0 bytes");
    }

    [Fact]
    public void A_kernel_too_large_for_the_memory_is_refused()
    {
        AssertRefused(MadeUp.BzImage().With(0x260, 0x100_0001u), "needs memory up to 33 MiB"); // init_size
        AssertRefused(MadeUp.BzImage().With(0x258, 0x200_0000UL), "give more --mem"); // pref_address
        AssertRefused(MadeUp.Elf64(0x1ff_f000, new MadeUp.Part(0x1ff_f000, 4, 0x1001)), "outside the memory");
        AssertRefused(MadeUp.Elf64(0xf_f000, new MadeUp.Part(0xf_f000, 4, 4)), "outside the memory");
        const ulong Top = 0xffff_ffff_ffff_f000;
        AssertRefused(MadeUp.Elf64(Top, new MadeUp.Part(Top, 4, 4)), "outside the memory");
        AssertRefused(MadeUp.Elf32(0x10_0000, new MadeUp.Part(0x10_0000, 4, 4)), "no 64-bit kernel");
        using var tiny = new TestMemory(0x1000);
        using KernelImage kernel = MadeUp.Open(MadeUp.Vmlinux());
        Assert.Throws<BootException>(() => KernelLoader.Load(tiny.Memory, kernel, new BootRequest()));
    }

    [Fact]
    public void A_seed_for_the_random_generator_is_handed_over_as_setup_data()
    {
        Load(MadeUp.Vmlinux(), new BootRequest { RngSeed = new byte[] { 7, 8, 9 } });
        ulong node = Parameters().hdr.setup_data;
        Assert.Equal(Layout.SetupData, node);
        Assert.Equal(
            new SetupData { next = 0, type = 9, len = 3 }, Memory.Read<SetupData>(new GuestAddress(node)));
        Assert.Equal(0x0009_0807u, Memory.Read<uint>(new GuestAddress(node + 16)));

        Load(MadeUp.Vmlinux());
        Assert.Equal(0UL, Parameters().hdr.setup_data);
    }

    [Fact]
    public void The_memory_map_and_the_RSDP_reach_boot_params()
    {
        var request = new BootRequest
        {
            AcpiRsdp = new GuestAddress(Layout.AcpiTables),
            Reserved = [new E820Range(new GuestAddress(0x50_0000), 0x1000, E820Type.Nvs)],
        };
        Load(MadeUp.Vmlinux(), request);
        BootParams parameters = Parameters();
        Assert.Equal(Layout.AcpiTables, parameters.acpi_rsdp_addr);
        var map = new List<(ulong, ulong, uint)>();
        for (int i = 0; i < parameters.e820_entries; i++)
        {
            map.Add((parameters.e820_table[i].addr, parameters.e820_table[i].size, parameters.e820_table[i].type));
        }

        Assert.Equal(
            [
                (0, 0x9_fc00, 1), (0x9_fc00, 0x6_0400, 2), (0x10_0000, 0x40_0000, 1), (0x50_0000, 0x1000, 4),
                (0x50_1000, (32 * Mib) - 0x50_1000, 1), (Layout.SyscallLanding, 0x20_0000, 2),
                (Layout.PciEcam, 0x1000_0000, 2), (Layout.KvmIdentityMap, 0x4000, 2),
            ],
            map);
    }

    private LoadedGuest Load(byte[] file, BootRequest? request = null)
    {
        using KernelImage kernel = MadeUp.Open(file);
        return KernelLoader.Load(Memory, kernel, request ?? new BootRequest());
    }

    private void AssertRefused(byte[] file, string because) => AssertRefused(file, new BootRequest(), because);

    private void AssertRefused(byte[] file, BootRequest request, string because)
    {
        var error = Assert.Throws<BootException>(() => Load(file, request));
        Assert.Contains(because, error.Message, StringComparison.Ordinal);
    }

    private void AssertPattern(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        Memory.Read(new GuestAddress(address), bytes);
        for (int i = 0; i < length; i++)
        {
            Assert.Equal(MadeUp.Pattern(i), bytes[i]);
        }
    }

    private BootParams Parameters() => Memory.Read<BootParams>(new GuestAddress(Layout.BootParams));

    /// <summary>What the processor would find (Intel SDM volume 3, 4.5).</summary>
    private ulong? Walk(ulong cr3, ulong address)
    {
        ulong table = cr3;
        for (int shift = 39; shift >= 21; shift -= 9)
        {
            ulong entry = Memory.Read<ulong>(new GuestAddress(table + ((address >> shift & 511) * 8)));
            if ((entry & 1) == 0)
            {
                return null;
            }

            table = entry & 0x000f_ffff_ffff_f000;
        }

        return table | (address & 0x1f_ffff);
    }
}
