using Vmm.Devices.Memory;
using Vmm.Tests.Shared;
using static Vmm.Boot.Tests.MadeUp;

namespace Vmm.Boot.Tests;

public sealed class PvhLoaderTests() : LoaderTests((0, 32 << 20), (Layout.FourGib, 1 << 20))
{
    private static readonly byte[] EntryNote = Note("Xen", 18, 0, 6, 0, 1, 0, 0, 0, 0);

    [Fact]
    public void The_start_info_has_the_layout_that_Xen_documents()
    {
        var request = new BootRequest
        {
            Protocol = EntryProtocol.Pvh,
            CommandLine = "abc",
            AcpiRsdp = new GuestAddress(0xe_0000),
            Initrd = InitialRamDisk.Open([Files.Write([1, 2, 3]), Files.Write([4])]),
        };
        LoadedGuest guest = Load(Vmlinux(EntryNote), request);
        Assert.Equal(EntryProtocol.Pvh, guest.Protocol);

        ulong info = guest.Entry.Rbx;
        Assert.Equal(0x336ec578u, Read<uint>(info));
        Assert.Equal(1u, Read<uint>(info + 4)); // version
        Assert.Equal(0u, Read<uint>(info + 8)); // flags
        Assert.Equal(1u, Read<uint>(info + 12)); // nr_modules

        ulong module = Read<ulong>(info + 16);
        Assert.Equal(guest.Initrd.Start.Value, Read<ulong>(module));
        Assert.Equal(5UL, Read<ulong>(module + 8));
        Assert.Equal(0UL, Read<ulong>(module + 16));
        Assert.Equal(0x04_0003_0201UL, Read<ulong>(guest.Initrd.Start.Value));

        Assert.Equal(0x0063_6261u, Read<uint>(Read<ulong>(info + 24))); // cmdline_paddr
        Assert.Equal(0xe_0000UL, Read<ulong>(info + 32)); // rsdp_paddr

        ulong map = Read<ulong>(info + 40);
        uint entries = Read<uint>(info + 48);
        E820Range[] expected = E820Map.Build(Memory);
        Assert.Equal(expected.Length, (int)entries);
        for (uint i = 0; i < entries; i++)
        {
            ulong entry = map + (24 * i);
            Assert.Equal(expected[i].Start.Value, Read<ulong>(entry));
            Assert.Equal(expected[i].Length, Read<ulong>(entry + 8));
            Assert.Equal((uint)expected[i].Type, Read<uint>(entry + 16));
            Assert.Equal(0u, Read<uint>(entry + 20));
        }

        Assert.Equal(Layout.FourGib + (1 << 20), expected[^1].End.Value);
        Assert.True(map + (24 * entries) <= Layout.StartInfo + Layout.StartInfoRoom);
    }

    [Fact]
    public void The_first_vCPU_is_in_protected_mode_without_paging()
    {
        EntryState entry = Load(Vmlinux(EntryNote), new BootRequest { Protocol = EntryProtocol.Pvh }).Entry;
        Assert.Equal(0x100_0600UL, entry.Rip);
        Assert.Equal((0x11UL, 0UL, 0UL, 0UL), (entry.Cr0, entry.Cr3, entry.Cr4, entry.Efer));
        Assert.Equal(2UL, entry.Rflags);
        Assert.Equal((0UL, uint.MaxValue, 1, 0), (entry.Code.Base, entry.Code.Limit, entry.Code.Db, entry.Code.L));
        Assert.Equal((0UL, uint.MaxValue, 1), (entry.Data.Base, entry.Data.Limit, entry.Data.Db));
        Assert.Equal((0UL, 0x67u, 11), (entry.Tss.Base, entry.Tss.Limit, entry.Tss.Type));
        Assert.Equal(0x00cf_9b00_0000_ffffUL, Read<ulong>(entry.GdtBase + entry.Code.Selector));
    }

    [Fact]
    public void A_32_bit_kernel_may_be_entered_so_too()
    {
        byte[] file = Elf32(
            0x10_0000, new Part(0x10_0000, 32, 32), new Part(0, 20, 0, Type: 4, Note("Xen", 18, 8, 0, 0x10, 0)));
        LoadedGuest guest = Load(file, new BootRequest());
        Assert.Equal((EntryProtocol.Pvh, 0x10_0008UL), (guest.Protocol, guest.Entry.Rip));
    }

    [Fact]
    public void Linux_is_entered_in_64_bit_mode_unless_PVH_is_asked_for_and_others_by_their_note()
    {
        byte[] linux = Vmlinux([.. Note("Linux", 0x100, 0), .. EntryNote]);
        Assert.Equal(EntryProtocol.Linux64, Load(linux, new BootRequest()).Protocol);
        Assert.Equal(EntryProtocol.Pvh, Load(linux, new BootRequest { Protocol = EntryProtocol.Pvh }).Protocol);
        Assert.Equal(EntryProtocol.Pvh, Load(Vmlinux(EntryNote), new BootRequest()).Protocol);
        Assert.Equal(EntryProtocol.Linux64, Load(Vmlinux(), new BootRequest()).Protocol);
    }

    [Fact]
    public void A_note_that_is_missing_damaged_or_points_outside_is_refused()
    {
        var request = new BootRequest { Protocol = EntryProtocol.Pvh };
        AssertRefused(Vmlinux(), request, "no PVH entry note");
        AssertRefused(Vmlinux(Note("xen", 18, 0, 6, 0, 1)), request, "no PVH entry note");
        AssertRefused(Vmlinux(Note("Xen", 17, 0, 6, 0, 1)), request, "no PVH entry note");
        AssertRefused(Vmlinux(Note("Xen", 18)), request, "damaged PVH entry note");
        AssertRefused(Vmlinux(Note("Xen", 18, 0, 6, 0, 1, 1, 0, 0, 0)), request, "damaged PVH entry note");
        AssertRefused(Vmlinux(Note("Xen", 18, 0, 6, 0, 2)), request, "0x2000600 in none of its segments");
        AssertRefused(Vmlinux(EntryNote.With(4, 100u)), request, "reaches past its segment");
        AssertRefused(Vmlinux(EntryNote.With(4, uint.MaxValue)), request, "reaches past its segment");
        AssertRefused(Vmlinux(EntryNote.With(0, uint.MaxValue)), request, "reaches past its segment");
        for (int length = 1; length < EntryNote.Length; length++)
        {
            AssertRefused(Vmlinux(EntryNote[..length]), request, "start it in another way");
        }

        AssertRefused(Elf32(0x10_0000, new Part(0x10_0000, 4, 4)), request, "no PVH entry note");
        AssertRefused(Elf32(0x10_0000, new Part(0x10_0000, 4, 4)), new BootRequest(), "no 64-bit kernel");
    }

    private LoadedGuest Load(byte[] file, BootRequest request)
    {
        using KernelImage kernel = Open(file);
        return KernelLoader.Load(Memory, kernel, request);
    }

    private void AssertRefused(byte[] file, BootRequest request, string because)
    {
        var error = Assert.Throws<BootException>(() => Load(file, request));
        Assert.Contains(because, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', error.Message);
    }

    private T Read<T>(ulong address)
        where T : unmanaged => Memory.Read<T>(new GuestAddress(address));
}
