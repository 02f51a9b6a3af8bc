using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vmm.Boot.Kaslr;
using Vmm.Boot.Unpack;
using Vmm.Devices.Memory;
using Vmm.Tests.Shared;

namespace Vmm.Boot.Tests.Unpack;

public sealed class KernelUnpackerTests : IClassFixture<KernelUnpackerTests.Fixture>
{
    private const ulong Mib = 1 << 20;
    private const ulong Start = MadeUp.PrefAddress;

    private readonly Fixture _fixture;

    public KernelUnpackerTests(Fixture fixture)
    {
        _fixture = fixture;
        Renew();
    }

    private GuestMemory Memory => _fixture.Test.Memory;

    [Fact]
    public void A_kernel_lies_where_it_was_linked_with_zeros_around_it()
    {
        LoadedGuest guest = Load(Kernel(), new BootRequest { Kaslr = false });
        Assert.Equal(Start + 0x10, guest.Entry.Rip);
        Assert.Equal((new GuestAddress(Start), 0x20_3000UL), guest.Kernel);
        Assert.Equal(
            new UnpackReport(Compression.Gzip, guest.Unpacked!.UnpackedSize, null, KaslrOutcome.TurnedOff, Start, 0),
            guest.Unpacked with { Unpacking = default, Relocating = default });
        Assert.InRange(guest.Unpacked.Unpacking + guest.Unpacked.Relocating, new TimeSpan(1), guest.Loading);
        AssertMemory(0, 0);
        Assert.Equal(SetupHeader.LOADED_HIGH, LoadFlags());
    }

    [Fact]
    public void KASLR_moves_it_physically_and_virtually_and_sets_the_flag()
    {
        // The choices, in turn: virtual slot 5, physical slot 3.
        LoadedGuest guest = Load(Kernel(), new BootRequest { Random = Sequence(5, 3) });
        Assert.Equal(Start + (6 * Mib) + 0x10, guest.Entry.Rip);
        Assert.Equal(KaslrOutcome.Randomized, guest.Unpacked!.Kaslr);
        Assert.Equal((Start + (6 * Mib), 10 * Mib), (guest.Unpacked.PhysicalAddress, guest.Unpacked.VirtualOffset));
        AssertMemory(6 * Mib, 10 * Mib);
        Assert.Equal(SetupHeader.LOADED_HIGH | SetupHeader.KASLR_FLAG, LoadFlags());
    }

    [Fact]
    public void Two_boots_differ()
    {
        var seen = new HashSet<(ulong, ulong)>();
        for (int i = 0; i < 4; i++)
        {
            Renew();
            UnpackReport report = Load(Kernel(), new BootRequest()).Unpacked!;
            seen.Add((report.PhysicalAddress, report.VirtualOffset));
        }

        Assert.NotEqual(1, seen.Count); // 1 in 10^11: 511 * 11 slots
    }

    [Theory]
    [InlineData("console=ttyS0 nokaslr", false)]
    [InlineData("nokaslr\tquiet", false)]
    [InlineData("quiet -- nokaslr", false)]
    [InlineData("nokaslrx xnokaslr nokaslr=1", true)]
    [InlineData("", true)]
    public void Nokaslr_on_the_command_line_turns_it_off(string commandLine, bool randomized)
    {
        UnpackReport report = Load(Kernel(), new BootRequest { CommandLine = commandLine }).Unpacked!;
        Assert.Equal(randomized ? KaslrOutcome.Randomized : KaslrOutcome.TurnedOff, report.Kaslr);
    }

    [Fact]
    public void A_kernel_without_relocations_stays_where_it_was_linked_and_is_said_to_be_so()
    {
        LoadedGuest guest = Load(Pack(MadeUp.Vmlinux()), new BootRequest { Random = Sequence(5, 3) });
        Assert.Equal(KaslrOutcome.NoRelocations, guest.Unpacked!.Kaslr);
        Assert.Equal((Start + 0x10, Start, 0UL), (guest.Entry.Rip, guest.Unpacked.PhysicalAddress, guest.Unpacked.VirtualOffset));
        AssertMemory(0, 0);
        Assert.Equal(SetupHeader.LOADED_HIGH, LoadFlags());

        Renew();
        byte[] fixedKernel = Kernel().With(0x234, (byte)0); // relocatable_kernel
        Assert.Equal(KaslrOutcome.NoRelocations, Load(fixedKernel, new BootRequest()).Unpacked!.Kaslr);
        AssertMemory(0, 0);
    }

    [Fact]
    public void At_the_PVH_entry_both_addresses_move_alike()
    {
        byte[] vmlinux = MadeUp.Vmlinux(MadeUp.Note("Xen", 18, 0x20, 0, 0, 1));
        var request = new BootRequest { Protocol = EntryProtocol.Pvh, Random = Sequence(4) };
        LoadedGuest guest = Load(Pack([.. vmlinux, .. Table()]), request);
        Assert.Equal((EntryProtocol.Pvh, Start + (8 * Mib) + 0x20), (guest.Protocol, guest.Entry.Rip));
        Assert.Equal((Start + (8 * Mib), 8 * Mib), (guest.Unpacked!.PhysicalAddress, guest.Unpacked.VirtualOffset));
        AssertMemory(8 * Mib, 8 * Mib);
    }

    [Fact]
    public void Kernel_and_initramfs_never_overlap()
    {
        using var files = new TemporaryFiles();
        string initrd = files.Write(new byte[5 << 20]);
        var random = new Random(3);
        for (int i = 0; i < 20; i++)
        {
            Renew();
            byte[] kernel = Kernel();
            if (i % 2 == 0)
            {
                kernel = kernel.With(0x22c, (uint)random.Next(0x180_0000, 0x280_0000)); // initrd_addr_max
            }

            LoadedGuest guest = Load(kernel, new BootRequest { Initrd = InitialRamDisk.Open([initrd]), Random = Draw(random) });
            Assert.True(guest.Kernel.Start + guest.Kernel.Length < guest.Initrd.Start + 1);
            AssertMemory(guest.Kernel.Start.Value - Start, guest.Unpacked!.VirtualOffset, guest.Initrd.Start.Value);
        }
    }

    [Fact]
    public void Where_vmm_cannot_unpack_it_the_kernel_is_left_to_do_it_itself()
    {
        byte[] kernel = Packed.BzImage(Packed.WithSize(Packed.Streams["Lz4"], 424));
        LoadedGuest guest = Load(kernel, new BootRequest { Libraries = new PackedPayloadTests.NoLibraries() });
        Assert.Equal(Start + 0x200, guest.Entry.Rip);
        Assert.Equal("this system has no liblz4.so.1", guest.Unpacked!.Obstacle);
        Assert.Equal(KaslrOutcome.LeftToKernel, guest.Unpacked.Kaslr);

        Renew();
        LoadedGuest asked = Load(Kernel(), new BootRequest { Unpack = false });
        Assert.Equal(Start + 0x200, asked.Entry.Rip);
        Assert.Null(asked.Unpacked);
        AssertRefused(kernel, "cannot unpack it", EntryProtocol.Pvh, new PackedPayloadTests.NoLibraries());
    }

    [Fact]
    public void What_unpacks_to_no_kernel_is_refused()
    {
        AssertRefused(Pack(Packed.Text), "the kernel packed in it is no ELF file");
        AssertRefused(Pack(MadeUp.Elf32(0x10_0000, new MadeUp.Part(0x10_0000, 64, 64))), "is a 32-bit one");
        AssertRefused(Pack(MadeUp.Vmlinux()[..^1]), "is cut short");
        byte[] lying = [.. Packed.Gzip(MadeUp.Vmlinux())];
        AssertRefused(Packed.BzImage(lying.With(lying.Length - 4, 0x2000)), "compressed by gzip");
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        AssertRefused(Packed.BzImage(Packed.WithSize(Packed.Streams["Gzip"], 30 << 20)), "give more --mem");
        AssertRefused(Pack(MadeUp.Elf64(0x200_0000, new MadeUp.Part(0x200_0000, 64, 0x200_0000))), "outside the memory");
        AssertRefused(Pack(MadeUp.Elf64(0x200_0000, new MadeUp.Part(0x200_0000, 64, ulong.MaxValue - 0x200_0000))), "outside the memory");
        AssertRefused(Pack(MadeUp.Elf64(0x1000, new MadeUp.Part(0x1000, 64, 64))), "outside the memory");

        // It says how much memory it needs, and its address: KASLR believes it.
        byte[] elf = MadeUp.Elf64(Start, new MadeUp.Part(Start, 0x1000, 0x60_0000));
        AssertRefused(Pack([.. elf, .. Table()]), "its header says");
        byte[] elsewhere = MadeUp.Elf64(Start + 0x20_0000, new MadeUp.Part(Start + 0x20_0000, 0x1000, 0x1000));
        AssertRefused(Pack([.. elsewhere, .. Table()]), "its header says");
    }

    [Fact]
    public void Segments_that_cannot_be_put_into_place_without_a_second_copy_are_refused()
    {
        // The first two swap places: each would overwrite the other, which still has to move.
        const uint Unpacked = (uint)Start - 0x20_0000;
        byte[] elf = MadeUp.Elf64(
            Unpacked + 0x400, new MadeUp.Part(Unpacked + 0x400, 0x300, 0x300), new MadeUp.Part(Unpacked + 0x100, 0x300, 0x300));
        AssertRefused(Pack(elf), "in an order that cannot be loaded", kaslr: false);

        // Over the relocation table.
        byte[] over = MadeUp.Elf64(Start, new MadeUp.Part(Start, 0x20_0000, 0x20_0000));
        AssertRefused(Pack([.. over, .. Table()]), "overwrite its relocation table");
    }

    [Fact]
    public void A_relocation_outside_the_kernel_is_refused_but_harmless_without_KASLR()
    {
        byte[] elf = MadeUp.Vmlinux();
        byte[] table = Words(0, 0, 0, unchecked((int)0x8120_0400)); // the first byte of .bss
        byte[] kernel = Pack([.. elf, .. table]);
        AssertRefused(kernel, "points outside the kernel");
        Renew();
        Assert.Equal(KaslrOutcome.TurnedOff, Load(kernel, new BootRequest { Kaslr = false }).Unpacked!.Kaslr);
        AssertRefused(Pack([.. elf, .. Words(1, 2, 3)]), "--no-kaslr");
    }

    [Fact]
    public void Damaged_kernels_are_loaded_or_refused()
    {
        byte[] good = [.. MadeUp.Vmlinux(MadeUp.Note("Linux", 1, 1, 2, 3, 4)), .. Table()];
        var random = new Random(7);
        int loaded = 0;
        const int Inputs = 4000; // each writes some pages and reads them back
        for (int i = 0; i < Inputs; i++)
        {
            byte[] bad = [.. good];
            for (int changes = random.Next(1, 4); changes > 0; changes--)
            {
                int at = random.Next(2) == 0 ? random.Next(64 + (3 * 56)) : random.Next(bad.Length);
                bad[at] = random.Next(3) switch { 0 => 0, 1 => 0xff, _ => (byte)random.Next(256) };
            }

            try
            {
                Load(Pack(bad), new BootRequest { Random = Draw(random) });
                loaded++;
            }
            catch (BootException error)
            {
                Assert.StartsWith("kernel it: ", error.Message, StringComparison.Ordinal);
                Assert.DoesNotContain('\n', error.Message);
            }
        }

        Assert.InRange(loaded, Inputs / 10, Inputs - (Inputs / 10));
    }

    [ReferenceKernelFact]
    public void The_reference_kernel_is_unpacked_and_randomized()
    {
        using var test = new TestMemory(128 * Mib);
        using KernelImage kernel = KernelImage.Open(ReferenceKernelFactAttribute.Find()!);
        LoadedGuest guest = KernelLoader.Load(test.Memory, kernel, new BootRequest { Random = Sequence(5, 3) });
        Assert.Null(guest.Unpacked!.Obstacle);
        Assert.Equal(KaslrOutcome.Randomized, guest.Unpacked.Kaslr);
        Assert.Equal(guest.Unpacked.PhysicalAddress, guest.Entry.Rip); // startup_64 comes first
        Assert.NotEqual(0UL, test.Memory.Read<ulong>(new GuestAddress(guest.Entry.Rip)));
    }

    /// <summary>A vmlinux with a relocation of each kind.</summary>
    private static byte[] Kernel() => Pack([.. MadeUp.Vmlinux(), .. Table()]);

    private static byte[] Pack(byte[] payload) => Packed.BzImage(Packed.Gzip(payload), initSize: 0x40_0000);

    /// <summary>64-bit at offset 0x100, inverse at 0x200, 32-bit at 0x300 and at the end of the second segment.</summary>
    private static byte[] Table() => Words(
        0, unchecked((int)0x8100_0100), 0, unchecked((int)0x8100_0200), 0, unchecked((int)0x8100_0300), unchecked((int)0x8120_03fc));

    private static byte[] Words(params int[] words) => MemoryMarshal.AsBytes<int>(words).ToArray();

    /// <summary>Checks all memory from 1 MiB to the limit: the kernel where it should be, zeros elsewhere.</summary>
    private void AssertMemory(ulong displacement, ulong offset, ulong limit = 0)
    {
        byte[] text = new byte[0x800], data = new byte[0x400];
        Fill(text);
        Fill(data);
        Add64(text.AsSpan(0x100), offset);
        Add32(text.AsSpan(0x200), (uint)-(long)offset);
        Add32(text.AsSpan(0x300), (uint)offset);
        Add32(data.AsSpan(0x3fc), (uint)offset);

        const int Chunk = 0x1_0000; // the segments begin and end within one
        byte[] expected = new byte[Chunk], actual = new byte[Chunk];
        ulong end = limit == 0 ? Memory.Size : limit & ~(Chunk - 1UL);
        for (ulong at = Mib; at < end; at += Chunk)
        {
            Array.Clear(expected);
            byte[]? segment = at == Start + displacement ? text : at == Start + displacement + 0x20_0000 ? data : null;
            segment?.CopyTo(expected, 0);
            Memory.Read(new GuestAddress(at), actual);
            if (!expected.AsSpan().SequenceEqual(actual))
            {
                Assert.Fail($"memory differs at 0x{at + (ulong)expected.AsSpan().CommonPrefixLength(actual):x}");
            }
        }
    }

    private static void Fill(Span<byte> segment)
    {
        for (int i = 0; i < segment.Length; i++)
        {
            segment[i] = MadeUp.Pattern(i);
        }
    }

    private static void Add64(Span<byte> at, ulong offset) =>
        BinaryPrimitives.WriteUInt64LittleEndian(at, BinaryPrimitives.ReadUInt64LittleEndian(at) + offset);

    private static void Add32(Span<byte> at, uint offset) =>
        BinaryPrimitives.WriteUInt32LittleEndian(at, BinaryPrimitives.ReadUInt32LittleEndian(at) + offset);

    private byte LoadFlags() => Memory.Read<BootParams>(new GuestAddress(Layout.BootParams)).hdr.loadflags;

    private LoadedGuest Load(byte[] file, BootRequest request)
    {
        using KernelImage kernel = MadeUp.Open(file);
        return KernelLoader.Load(Memory, kernel, request);
    }

    private void AssertRefused(
        byte[] file, string because, EntryProtocol protocol = EntryProtocol.Auto, SystemLibraries? libraries = null,
        bool kaslr = true)
    {
        Renew();
        var request = new BootRequest { Protocol = protocol, Libraries = libraries, Random = Sequence(1, 1), Kaslr = kaslr };
        var error = Assert.Throws<BootException>(() => Load(file, request));
        Assert.StartsWith("kernel it: ", error.Message, StringComparison.Ordinal);
        Assert.Contains(because, error.Message, StringComparison.Ordinal);
    }

    /// <summary>Zeros again.</summary>
    private void Renew()
    {
        byte[] zeros = new byte[0x1_0000];
        for (ulong at = 0; at < Memory.Size; at += (ulong)zeros.Length)
        {
            Memory.Write(new GuestAddress(at), zeros);
        }
    }

    /// <summary>One memory for all tests: its first touch takes longer than most of them.</summary>
    [System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1034:Nested types should not be visible", Justification = "xunit")]
    public sealed class Fixture : IDisposable
    {
        internal TestMemory Test { get; } = new(40 * Mib);

        public void Dispose() => Test.Dispose();
    }

    private static Func<ulong> Sequence(params ulong[] values)
    {
        int next = 0;
        return () => values[next++];
    }

    private static Func<ulong> Draw(Random random) => () => (ulong)random.NextInt64();
}
