using Vmm.Tests.Shared;
using static Vmm.Boot.Tests.MadeUp;

namespace Vmm.Boot.Tests;

/// <summary>A million damaged kernels: whatever the bytes, the answer is an image or one line of text, and no
/// more memory is taken than a small bound.</summary>
public sealed class FuzzTests
{
    private const int Inputs = 1_000_000;
    private const long MostAllocated = 16 << 10;

    [Fact]
    public void Damaged_bzImages_are_refused_or_understood()
    {
        byte[] good = BzImage(0x800);
        Feed(good, fieldsAt: 0x1f1, fieldsLength: 0x26c - 0x1f1, seed: 1, image =>
        {
            BzImage bzImage = image.BzImage!;
            Assert.True(bzImage.ProtectedModeOffset + bzImage.ProtectedModeLength <= image.Source.Length);
            Assert.True(bzImage.PayloadOffset + bzImage.PayloadLength <= image.Source.Length);
        });
    }

    [Fact]
    public void Damaged_ELF64_images_are_refused_or_understood()
    {
        byte[] notes = [.. Note("Linux", 0x100, 0), .. Note("Xen", 18, 0, 6, 0, 1), .. new byte[24]];
        byte[] good = Elf64(
            0x100_0010,
            new Part(0x100_0000, 0x40, 0x800),
            new Part(0x120_0000, 0x40, 0x3000),
            new Part(0, (ulong)notes.Length, 0, Type: 4, notes));
        Feed(good, fieldsAt: 4, good.Length - 4, seed: 2, AssertSegments);
    }

    [Fact]
    public void Damaged_ELF32_images_are_refused_or_understood()
    {
        byte[] good = Elf32(
            0x10_0010,
            new Part(0x10_0000, 0x40, 0x800),
            new Part(0x12_0000, 0x40, 0x3000),
            new Part(0, 20, 0, Type: 4, Note("Xen", 18, 0, 6, 0, 1)));
        Feed(good, fieldsAt: 4, good.Length - 4, seed: 3, AssertSegments);
    }

    [Fact]
    public void Damaged_multiboot_images_are_refused_or_understood()
    {
        byte[] good = MultibootTests.Flat(0x10_0010, 0x10_0000, 0x10_0100, 0x10_1000, 0x10_0004);
        Feed(good, fieldsAt: 0x20 + 12, fieldsLength: 20, seed: 5, image =>
        {
            ElfImage flat = image.Multiboot!.Flat!;
            Assert.True((ulong)flat.Segments[0].FileOffset + flat.Segments[0].FileSize <= (ulong)image.Source.Length);
            Assert.True(flat.Holds(flat.Entry));
        });
    }

    [Fact]
    public void Damaged_multiboot_headers_of_ELF_images_are_refused_or_understood()
    {
        uint[] header = [0x1bad_b002, 3, unchecked(0u - 0x1bad_b002 - 3)];
        byte[] text = [.. new byte[32], .. System.Runtime.InteropServices.MemoryMarshal.AsBytes<uint>(header), .. new byte[32]];
        byte[] good = Elf32(0x10_0010, new Part(0x10_0000, (ulong)text.Length, 0x800, Bytes: text));
        Feed(good, fieldsAt: 52 + 32 + 32, fieldsLength: 12, seed: 6, AssertSegments);
    }

    [Fact]
    public void Damaged_PVH_notes_are_refused_or_lie_within_the_kernel()
    {
        byte[] notes = [.. Note("Xen", 18, 0, 0, 0x10, 0), .. Note("Xen", 6, 1, 2, 3), .. Note("Xen", 18, 4, 0, 0x10, 0)];
        byte[] good = Elf32(0x10_0000, new Part(0x10_0000, 0x20, 0x40), new Part(0, (ulong)notes.Length, 0, Type: 4, notes));
        int said = 0;
        Feed(good, good.Length - notes.Length, notes.Length, seed: 7, image =>
        {
            ElfNotes read = image.Elf!.Notes;
            said += read.PvhEntry is null ? 0 : 1;
            Assert.False(read.Damage is { Length: 0 or > 80 });
        }, mostUnderstood: Inputs);
        Assert.InRange(said, Inputs / 100, Inputs * 99 / 100);
    }

    [Fact]
    public void Damaged_kernels_are_loaded_or_refused()
    {
        using var test = new TestMemory(20 << 20);
        byte[][] kernels =
        [
            BzImage(0x800),
            Vmlinux(),
            Elf32(0x10_0000, new Part(0x10_0000, 9, 9), new Part(0, 20, 0, Type: 4, Note("Xen", 18, 0, 0, 16, 0))),
            MultibootTests.Flat(0x10_0010, 0x10_0000, 0x10_0100, 0x10_1000, 0x10_0004),
        ];
        var damage = new Damage(seed: 4);
        var source = new MemoryImageSource("it", default);
        var request = new BootRequest();
        int loaded = 0;
        for (int i = 0; i < 50_000; i++)
        {
            byte[] kernel = kernels[i % kernels.Length];
            source.Reset(i % kernels.Length == 0 ? damage.Apply(kernel, 0x1f1, 0x7b) : damage.Apply(kernel, 0, 0xf0));
            if (KernelImage.TryParse(source, out KernelImage? image) is null)
            {
                try
                {
                    KernelLoader.Load(test.Memory, image!, request);
                    loaded++;
                }
                catch (BootException)
                {
                    // The only kind of refusal there is.
                }
            }

            damage.Undo(kernel);
        }

        Assert.InRange(loaded, 1000, 49_000);
    }

    private static void AssertSegments(KernelImage image)
    {
        ulong end = 0;
        foreach (ref readonly ElfSegment segment in image.Elf!.Segments)
        {
            Assert.True(segment.PhysicalAddress >= end);
            ulong fileEnd = (ulong)segment.FileOffset + segment.FileSize;
            Assert.True(segment.FileSize == 0 || fileEnd <= (ulong)image.Source.Length);
            end = segment.PhysicalEnd;
        }

        Assert.True(image.Elf.Holds(image.Elf.Entry));
    }

    private static void Feed(
        byte[] good, int fieldsAt, int fieldsLength, int seed, Action<KernelImage> check, int mostUnderstood = Inputs * 99 / 100)
    {
        var damage = new Damage(seed);
        var source = new MemoryImageSource("it", default);
        int understood = 0;
        for (int i = 0; i < Inputs; i++)
        {
            source.Reset(damage.Apply(good, fieldsAt, fieldsLength));
            long before = GC.GetAllocatedBytesForCurrentThread();
            string? wrong = KernelImage.TryParse(source, out KernelImage? image);
            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            if (allocated > MostAllocated || (wrong is null) != (image is not null))
            {
                Assert.Fail($"input {i} of seed {seed}: {allocated} bytes allocated, said {wrong}");
            }

            if (image is not null)
            {
                check(image);
                understood++;
            }

            damage.Undo(good);
        }

        // If no input, or every input, were refused, the test would show nothing.
        Assert.InRange(understood, Inputs / 100, mostUnderstood);
    }

    /// <summary>Damages bytes in place and mends them again: one to four fields of 1 to 8 bytes with values from the
    /// edges of their ranges or from anywhere, and now and then the end cut off.</summary>
    private sealed class Damage(int seed)
    {
        private static readonly ulong[] Edges =
        [
            0, 1, 4, 0x7f, 0x80, 0xff, 0x1000, 0x7fff, 0xffff, 0x10_0000, 0x100_0000, 0x7fff_ffff, 0x8000_0000,
            0xffff_ffff, 0x1_0000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, ulong.MaxValue,
            ulong.MaxValue - 7,
        ];

        private readonly Random _random = new(seed);
        private readonly (int At, ulong Old)[] _changes = new (int, ulong)[4];
        private int _count;

        public ReadOnlyMemory<byte> Apply(byte[] file, int fieldsAt, int fieldsLength)
        {
            _count = _random.Next(1, _changes.Length + 1);
            for (int i = 0; i < _count; i++)
            {
                int at = Math.Min(fieldsAt + _random.Next(fieldsLength), file.Length - 8);
                Span<byte> field = file.AsSpan(at, 8);
                _changes[i] = (at, BitConverter.ToUInt64(field));
                ulong value = _random.Next(2) == 0 ? Edges[_random.Next(Edges.Length)] : (ulong)_random.NextInt64();
                BitConverter.GetBytes(value).AsSpan(0, 1 << _random.Next(4)).CopyTo(field);
            }

            return file.AsMemory(0, _random.Next(8) == 0 ? _random.Next(file.Length + 1) : file.Length);
        }

        public void Undo(byte[] file)
        {
            for (int i = _count - 1; i >= 0; i--)
            {
                BitConverter.TryWriteBytes(file.AsSpan(_changes[i].At), _changes[i].Old);
            }
        }
    }
}
