using System.Text;
using Vmm.Devices.Memory;
using Vmm.Tests.Shared;
using static Vmm.Boot.Tests.MadeUp;

namespace Vmm.Boot.Tests;

public sealed class MultibootTests() : LoaderTests((0, 8 << 20))
{
    private const uint Base = 0x10_0000;

    [Fact]
    public void A_flat_image_is_loaded_as_its_address_fields_say()
    {
        // The header at offset 0x20 of the file, the kernel from offset 0x10 on.
        byte[] file = Flat(Base + 0x10, Base, loadEnd: Base + 0x100, bssEnd: Base + 0x1000, entry: Base + 4);
        LoadedGuest guest = Load(file);
        Assert.Equal(EntryProtocol.Multiboot, guest.Protocol);
        Assert.Equal(Base + 4UL, guest.Entry.Rip);
        Assert.Equal((new GuestAddress(Base), 0x1000UL), guest.Kernel);
        Assert.Equal(file[0x10], Read<byte>(Base));
        Assert.Equal(file[0x10f], Read<byte>(Base + 0xff));
        Assert.Equal(0, Read<byte>(Base + 0x100));
    }

    [Fact]
    public void Without_an_end_all_of_the_file_is_loaded()
    {
        byte[] file = Flat(header: Base + 0x20, load: Base, loadEnd: 0, bssEnd: 0, entry: Base);
        Assert.Equal((ulong)file.Length, Load(file).Kernel.Length);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_ELF_image_needs_no_addresses_and_may_have_64_bits(bool is64Bit)
    {
        byte[] body = [.. MultibootKernel.Header(3), .. new byte[20]];
        Part[] parts = [new Part(Base, (ulong)body.Length, 0x2000, Bytes: body)];
        LoadedGuest guest = Load(is64Bit ? Elf64(Base + 12, parts) : Elf32(Base + 12, parts));
        Assert.Equal((EntryProtocol.Multiboot, Base + 12UL), (guest.Protocol, guest.Entry.Rip));
        Assert.Equal(0x1bad_b002u, Read<uint>(Base));
    }

    [Fact]
    public void The_test_kernel_is_the_same_in_both_formats()
    {
        Assert.Equal(0x10_000cUL, Load(MultibootKernel.Elf()).Entry.Rip);
        uint first = Read<uint>(0x10_000c);
        Assert.Equal(0x10_0020UL, Load(MultibootKernel.Flat()).Entry.Rip);
        Assert.Equal(first, Read<uint>(0x10_0020));
    }

    [Fact]
    public void Address_fields_go_before_ELF_headers()
    {
        byte[] body = [.. MultibootKernel.Header(0x1_0003, Base, Base, Base + 32, 0, Base + 8)];
        LoadedGuest guest = Load(Elf32(0x30_0000, new Part(0x30_0000, 32, 32, Bytes: body)));
        Assert.Equal((Base + 8UL, 32UL), (guest.Entry.Rip, guest.Kernel.Length));
    }

    [Fact]
    public void The_boot_information_lies_as_the_specification_says()
    {
        string[] modules = [Files.Write([1, 2, 3]), Files.Write(new byte[5000])];
        LoadedGuest guest = Load(
            Flat(Base + 0x20, Base, 0, Base + 0x1001, Base),
            new BootRequest { CommandLine = "test arg", Initrd = InitialRamDisk.Open(modules) });
        Assert.Equal(0x2bad_b002UL, guest.Entry.Rax);

        ulong info = guest.Entry.Rbx;
        Assert.Equal(0b10_0100_1101u, Read<uint>(info)); // memory, cmdline, mods, mmap, boot loader name
        Assert.Equal(639u, Read<uint>(info + 4)); // mem_lower in KiB
        Assert.Equal(7 * 1024u, Read<uint>(info + 8)); // mem_upper
        Assert.Equal("test arg", String(Read<uint>(info + 16)));
        Assert.Equal("vmm", String(Read<uint>(info + 64)));

        Assert.Equal(2u, Read<uint>(info + 20));
        ulong list = Read<uint>(info + 24);
        Assert.Equal((0x10_2000u, 0x10_2003u), (Read<uint>(list), Read<uint>(list + 4)));
        Assert.Equal(modules[0], String(Read<uint>(list + 8)));
        Assert.Equal((0x10_3000u, 0x10_3000u + 5000), (Read<uint>(list + 16), Read<uint>(list + 20)));
        Assert.Equal(3, Read<byte>(0x10_2002));
        Assert.Equal((new GuestAddress(0x10_2000), 0x1000UL + 5000), guest.Initrd);

        // Walked as a kernel does it: each entry says its size, without the size field.
        var map = new List<E820Range>();
        ulong entry = Read<uint>(info + 48), end = entry + Read<uint>(info + 44);
        while (entry < end)
        {
            map.Add(new E820Range(
                new GuestAddress(Read<ulong>(entry + 4)), Read<ulong>(entry + 12), (E820Type)Read<uint>(entry + 20)));
            entry += Read<uint>(entry) + 4;
        }

        Assert.Equal(end, entry);
        Assert.Equal(E820Map.Build(Memory), map);
    }

    [Fact]
    public void The_first_vCPU_is_in_protected_mode_without_paging()
    {
        EntryState entry = Load(Flat(Base + 0x20, Base, 0, 0, Base)).Entry;
        Assert.Equal((0x11UL, 0UL, 2UL), (entry.Cr0, entry.Efer, entry.Rflags));
        Assert.Equal((1, 0, uint.MaxValue), (entry.Code.Db, entry.Code.L, entry.Code.Limit));
    }

    [Fact]
    public void The_header_is_found_only_aligned_whole_and_within_8192_bytes()
    {
        byte[] body = MultibootKernel.Header(0x1_0000, Base, Base, 0, 0, Base);
        MadeUp.Open([.. new byte[8192 - 32], .. body]).Dispose();
        byte[] late = [.. new byte[8192 - 28], .. body];
        Assert.Contains("cut short in its multiboot header", Wrong(late), StringComparison.Ordinal);
        Assert.Contains("no kernel that vmm knows", Wrong([.. new byte[8192], .. body]), StringComparison.Ordinal);
        Assert.Contains("no kernel that vmm knows", Wrong([.. new byte[2], .. body]), StringComparison.Ordinal);
        Assert.Contains("no kernel that vmm knows", Wrong(body.With(8, 0u)), StringComparison.Ordinal); // checksum

        // The magic alone, twice, and then the header: it goes on looking.
        byte[] magic = BitConverter.GetBytes(MultibootHeader.Magic);
        MadeUp.Open([.. magic, .. magic, .. MultibootKernel.Header(0x1_0000, Base + 8, Base, 0, 0, Base)]).Dispose();
        for (int length = 1; length < body.Length; length++)
        {
            Wrong(body[..length]);
        }
    }

    [Theory]
    [InlineData(0, Base, Base, 0, 0, Base, "without addresses")]
    [InlineData(4, Base, Base, 0, 0, Base, "video mode")]
    [InlineData(0x1_0008, Base, Base, 0, 0, Base, "unknown features 0x8")]
    [InlineData(0x1_0000, Base, Base + 1, 0, 0, Base, "kernel begins at")] // header before the kernel
    [InlineData(0x1_0000, Base + 0x21, Base, 0, 0, Base, "kernel begins at")] // kernel before the file
    [InlineData(0x1_0000, uint.MaxValue, 0, 0, 0, Base, "kernel begins at")]
    [InlineData(0x1_0000, Base, Base, Base - 1, 0, Base, "loaded from")]
    [InlineData(0x1_0000, Base, Base, Base + 0x1000, 0, Base, "loaded from")]
    [InlineData(0x1_0000, Base, Base, uint.MaxValue, 0, Base, "loaded from")]
    [InlineData(0x1_0000, Base, Base, Base + 0x40, Base + 0x3f, Base, "bss ends at 0x10003f")]
    [InlineData(0x1_0000, Base, Base, Base, 0, Base, "entry point 0x100000")] // nothing to load
    [InlineData(0x1_0000, Base, Base, Base + 0x40, Base + 0x60, Base + 0x60, "entry point 0x100060")]
    [InlineData(0x1_0000, Base, Base, 0, 0, Base - 1, "entry point 0xfffff")]
    public void Absurd_headers_are_refused_by_name(
        uint flags, uint header, uint load, uint loadEnd, uint bssEnd, uint entry, string named)
    {
        byte[] file = [.. new byte[0x20], .. MultibootKernel.Header(flags, header, load, loadEnd, bssEnd, entry), .. new byte[0x100]];
        Assert.Contains(named, Wrong(file), StringComparison.Ordinal);
    }

    /// <summary>Where vmm itself would put the boot information (0x6000), the command line (0x20000), or neither.</summary>
    [Theory]
    [InlineData(0x1000)]
    [InlineData(0x5000)]
    [InlineData(0x1_0000)]
    [InlineData(0x1_f000)]
    [InlineData(0x8_0000)]
    public void An_image_in_base_memory_is_not_overwritten_by_boot_data(uint at)
    {
        byte[] file = MultibootKernel.Flat(at);
        LoadedGuest guest = Load(file, new BootRequest { CommandLine = "x y", Initrd = InitialRamDisk.Open([Files.Write([7])]) });
        Assert.Equal((new GuestAddress(at), 0x1_0000UL), guest.Kernel);
        for (int i = 0; i < file.Length; i++)
        {
            Assert.Equal(file[i], Read<byte>(at + (uint)i));
        }

        ulong info = guest.Entry.Rbx, line = Read<uint>(info + 16), module = Read<uint>(Read<uint>(info + 24));
        Assert.Equal("x y", String(line));
        Assert.Equal(7, Read<byte>(module));
        Assert.Equal(0x10_0000UL, module);
        foreach ((ulong start, ulong length) in new[] { (info, Layout.StartInfoRoom), (line, 4UL) })
        {
            Assert.True(start + length <= at || start >= at + 0x1_0000UL, $"0x{start:x} is in the kernel");
            Assert.True(start + length <= Layout.Ebda || start >= Layout.HighMemory, $"0x{start:x} is no memory");
        }
    }

    [Fact]
    public void Boot_data_goes_behind_a_kernel_that_fills_base_memory()
    {
        const uint First = 0x1000, Length = 0x9_e000;
        byte[] file = Flat(First + 0x20, First, 0, First + Length, First);
        LoadedGuest guest = Load(file, new BootRequest { Initrd = InitialRamDisk.Open([Files.Write([7])]) });
        ulong info = guest.Entry.Rbx;
        Assert.InRange(info, Layout.HighMemory, Layout.HighMemory + 0x2000);
        Assert.True(Read<uint>(Read<uint>(info + 24)) >= info + Layout.StartInfoRoom);
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        AssertRefused(Flat(0xfe0, 0xfc0, 0, 0, 0xfc0), null, "outside the memory from 0x1000 to 0x9fc00 and from 0x100000");
        AssertRefused(Flat(0x9_f020, 0x9_f000, 0, 0x9_fc01, 0x9_f000), null, "outside the memory");
        AssertRefused(Flat(0x9_f020, 0x9_f000, 0, 0x20_0000, 0x9_f000), null, "outside the memory");
        AssertRefused(Flat(0xf_f000 + 0x20, 0xf_f000, 0, 0, 0xf_f000), null, "outside the memory");
        AssertRefused(Flat(Base + 0x20, Base, 0, 0x80_0001, Base), null, "outside the memory");
        AssertRefused(Flat(Base + 0x20, Base, 0, uint.MaxValue, Base), null, "outside the memory");

        byte[] good = Flat(Base + 0x20, Base, 0, 0, Base);
        string large = Files.WriteSparse(7 << 20), small = Files.Write([1]);
        AssertRefused(good, new BootRequest { Initrd = InitialRamDisk.Open([large]) }, "does not fit");
        AssertRefused(good, new BootRequest { Initrd = InitialRamDisk.Open([.. Enumerable.Repeat(small, 200)]) }, "too many files");
        AssertRefused(good, new BootRequest { Protocol = EntryProtocol.Linux64 }, "no 64-bit kernel");
        AssertRefused(good, new BootRequest { Protocol = EntryProtocol.Pvh }, "no PVH entry");
        AssertRefused(Vmlinux(), new BootRequest { Protocol = EntryProtocol.Multiboot }, "no multiboot header");
    }

    /// <summary>Bytes with a header at 0x20.</summary>
    internal static byte[] Flat(uint header, uint load, uint loadEnd, uint bssEnd, uint entry)
    {
        byte[] tail = [.. Enumerable.Range(0, 0x200).Select(Pattern)];
        return [.. tail[..0x20], .. MultibootKernel.Header(0x1_0003, header, load, loadEnd, bssEnd, entry), .. tail];
    }

    private LoadedGuest Load(byte[] file, BootRequest? request = null)
    {
        using KernelImage kernel = MadeUp.Open(file);
        return KernelLoader.Load(Memory, kernel, request ?? new BootRequest());
    }

    private void AssertRefused(byte[] file, BootRequest? request, string because)
    {
        var error = Assert.Throws<BootException>(() => Load(file, request));
        Assert.Contains(because, error.Message, StringComparison.Ordinal);
    }

    private string String(ulong address)
    {
        var text = new StringBuilder();
        for (byte c; (c = Read<byte>(address)) != 0; address++)
        {
            text.Append((char)c);
        }

        return text.ToString();
    }

    private T Read<T>(ulong address)
        where T : unmanaged => Memory.Read<T>(new GuestAddress(address));
}
