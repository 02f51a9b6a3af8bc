using Vmm.Boot.Unpack;

namespace Vmm.Boot.Tests.Unpack;

public sealed class CodecTests
{
    private const byte Canary = 0xa5;
    private const int CanaryLength = 64;

    // More than one 8-MiB block of lz4, more than one 900-KB block of bzip2, half of it incompressible.
    private static readonly Lazy<byte[]> Large = new(MakeLarge);

    /// <summary>The formats that this system has a library for.</summary>
    public static TheoryData<string> All => [.. Packed.Streams.Keys.Where(format => Packed.CodecOf(format) is not null)];

    [AllLibrariesFact]
    public void Every_format_that_kernels_use_is_tested_here() => Assert.Equal(7, All.Count);

    [ToolFact("gzip")]
    public void What_gzip_packs_is_unpacked() => AssertUnpacks("Gzip", "gzip", "-n -9");

    [ToolFact("bzip2")]
    public void What_bzip2_packs_is_unpacked() => AssertUnpacks("Bzip2", "bzip2", "-9");

    [ToolFact("lzma")]
    public void What_lzma_packs_is_unpacked() => AssertUnpacks("Lzma", "lzma", "-1");

    [ToolFact("xz")]
    public void What_xz_packs_is_unpacked() => AssertUnpacks("Xz", "xz", "--check=crc32 --x86 --lzma2=preset=0,dict=32MiB");

    [ToolFact("lzop")]
    public void What_lzop_packs_is_unpacked() => AssertUnpacks("Lzo", "lzop", "-3");

    [ToolFact("lz4")]
    public void What_lz4_packs_is_unpacked() => AssertUnpacks("Lz4", "lz4", "-l -1 - -");

    [ToolFact("zstd")]
    public void What_zstd_packs_is_unpacked() => AssertUnpacks("Zstd", "zstd", "-3");

    [Theory]
    [MemberData(nameof(All))]
    public void Streams_of_each_format_are_known_by_their_first_bytes_and_unpacked(string compression)
    {
        byte[] stream = Packed.Streams[compression];
        Assert.Equal(compression, Codec.Identify(stream).ToString());
        Codec codec = Packed.CodecOf(compression)!;
        Assert.Null(Decode(codec, stream, Packed.Text.Length, out byte[] output));
        Assert.Equal(Packed.Text, output);

        // What the kernel's own unpackers ignore behind the end; the other libraries take it for another stream.
        if (compression is not ("Zstd" or "Lz4" or "Gzip"))
        {
            Assert.Null(Decode(codec, [.. stream, 1, 2, 3], Packed.Text.Length, out _));
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void A_stream_cut_anywhere_is_an_error(string compression)
    {
        byte[] stream = Packed.Streams[compression];
        Codec codec = Packed.CodecOf(compression)!;

        // The last bytes of lzma's range coder, and gzip's trailer for .NET, may say nothing new.
        int spare = compression is "Lzma" or "Gzip" ? 10 : 0;
        for (int length = 0; length < stream.Length; length++)
        {
            string? wrong = Decode(codec, stream[..length], Packed.Text.Length, out byte[] output);
            if (length < stream.Length - spare)
            {
                Assert.True(wrong is not null, $"cut to {length} of {stream.Length} bytes");
            }
            else if (wrong is null)
            {
                Assert.Equal(Packed.Text, output);
            }
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void A_stream_that_unpacks_to_another_size_than_declared_is_an_error(string compression)
    {
        byte[] stream = Packed.Streams[compression];
        Codec codec = Packed.CodecOf(compression)!;
        int length = Packed.Text.Length;
        foreach (int lie in new[] { length - 1, length - 64, 1, 120 })
        {
            Assert.Contains("more than the size", Decode(codec, stream, lie, out _), StringComparison.Ordinal);
        }

        foreach (int lie in new[] { length + 1, length + 64, 1 << 20 })
        {
            Assert.Contains("less than the size", Decode(codec, stream, lie, out _), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_bomb_is_stopped_at_the_declared_size()
    {
        byte[] zeros = new byte[32 << 20];
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("more than", Decode(new GzipCodec(), Packed.Gzip(zeros), 4096, out _), StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 2 << 20);
        if (Packed.CodecOf("Lz4") is { } lz4)
        {
            // A thousand blocks of 8 MiB of zeros each, one after another.
            byte[] block = MakeLz4Zeros();
            byte[] stream = [0x02, 0x21, 0x4c, 0x18, .. Enumerable.Range(0, 1000).SelectMany(_ => block)];
            Assert.Contains("more than", Decode(lz4, stream, 1 << 20, out _), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void An_xz_dictionary_beyond_all_bounds_is_refused()
    {
        if (Packed.CodecOf("Lzma") is { } codec)
        {
            byte[] stream = Packed.Streams["Lzma"].With(1, uint.MaxValue); // 4 GiB
            Assert.Contains("more memory", Decode(codec, stream, Packed.Text.Length, out _), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Frames_of_lz4_may_follow_one_another_and_stored_blocks_of_lzop_are_copied()
    {
        byte[] stream = Packed.Streams["Lz4"];
        if (Packed.CodecOf("Lz4") is { } lz4)
        {
            Assert.Null(Decode(lz4, [.. stream, .. stream], 2 * Packed.Text.Length, out byte[] twice));
            Assert.Equal([.. Packed.Text, .. Packed.Text], twice);
        }

        if (Packed.CodecOf("Lzo") is { } lzo)
        {
            byte[] header = Packed.Streams["Lzo"][..LengthOfLzopHeader];
            byte[] stored = [.. header, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 0, 7, 8, 9, 0, 0, 0, 0];
            Assert.Null(Decode(lzo, stored, 3, out byte[] three));
            Assert.Equal([7, 8, 9], three);
        }
    }

    /// <summary>A million for each, but for zstd and xz: the library makes itself a new decoder for every stream,
    /// which takes 10 us and more.</summary>
    [Theory]
    [InlineData("Gzip", 1_000_000)]
    [InlineData("Bzip2", 1_000_000)]
    [InlineData("Lzma", 1_000_000)]
    [InlineData("Xz", 250_000)]
    [InlineData("Lzo", 1_000_000)]
    [InlineData("Lz4", 1_000_000)]
    [InlineData("Zstd", 250_000)]
    public void Damaged_streams_are_errors_or_unpacked_within_their_bounds(string compression, int inputs)
    {
        if (Packed.CodecOf(compression) is not { } codec)
        {
            return;
        }

        byte[] good = Packed.Streams[compression];
        if (compression == "Lzma")
        {
            good = good.With(1, 1 << 16); // a dictionary of 64 KiB: to get the usual 64 MiB from the system takes 50 us
        }

        byte[] stream = new byte[good.Length + 32];
        byte[] output = new byte[1024 + CanaryLength];
        output.AsSpan().Fill(Canary);
        var random = new Random(11);
        int unpacked = 0;
        for (int i = 0; i < inputs; i++)
        {
            good.CopyTo(stream, 0);
            random.NextBytes(stream.AsSpan(good.Length));
            for (int changes = random.Next(4); changes >= 0; changes--)
            {
                // Bytes of the header first: they steer the parser.
                int at = random.Next(random.Next(2) == 0 ? good.Length : Math.Min(good.Length, 48));
                stream[at] = (byte)random.Next(256);
            }

            int length = random.Next(8) == 0 ? random.Next(1, 1024) : Packed.Text.Length;
            int packed = random.Next(4) == 0 ? random.Next(stream.Length + 1) : good.Length;
            unpacked += codec.Decode(stream.AsSpan(0, packed), output.AsSpan(0, length)) is null ? 1 : 0;
            if (output.AsSpan(length, CanaryLength).ContainsAnyExcept(Canary))
            {
                Assert.Fail($"input {i} wrote past the end");
            }

            output.AsSpan(0, length).Fill(Canary);
        }

        Assert.InRange(unpacked, 1, inputs - 1); // some streams were unpacked, and some were refused
    }

    private static int LengthOfLzopHeader => Packed.Streams["Lzo"].AsSpan().IndexOf(new byte[] { 0, 0, 1, 0xa8 }); // 424, the first block

    private static byte[] MakeLarge()
    {
        byte[] bytes = new byte[(9 << 20) + 123];
        var random = new Random(5);
        for (int i = 0; i < bytes.Length; i += 4096)
        {
            Span<byte> page = bytes.AsSpan(i, Math.Min(4096, bytes.Length - i));
            if (random.Next(4) == 0)
            {
                random.NextBytes(page);
            }
            else
            {
                page.Fill((byte)i);
            }
        }

        return bytes;
    }

    /// <summary>An LZ4 block of its own: one literal, then a match that goes on for 8 MiB less 6 bytes, then literals.</summary>
    private static byte[] MakeLz4Zeros()
    {
        const int Match = (8 << 20) - 6;
        List<byte> block = [0x1f, 0, 1, 0];
        int left = Match - 4 - 15;
        for (; left >= 255; left -= 255)
        {
            block.Add(255);
        }

        block.AddRange([(byte)left, 0x50, 0, 0, 0, 0, 0]);
        return [(byte)block.Count, (byte)(block.Count >> 8), (byte)(block.Count >> 16), 0, .. block];
    }

    private static void AssertUnpacks(string compression, string tool, string arguments)
    {
        if (Packed.CodecOf(compression) is not { } codec)
        {
            Assert.Fail($"{tool} is there, but not its library");
            return;
        }

        byte[] stream = Packed.Run(tool, arguments, Large.Value);
        Assert.Null(Decode(codec, stream, Large.Value.Length, out byte[] output));
        Assert.True(Large.Value.AsSpan().SequenceEqual(output));
    }

    /// <summary>Decodes into a buffer that has something behind it, which must stay.</summary>
    private static string? Decode(Codec codec, byte[] stream, int length, out byte[] output)
    {
        byte[] buffer = new byte[length + CanaryLength];
        buffer.AsSpan(length).Fill(Canary);
        string? wrong = codec.Decode(stream, buffer.AsSpan(0, length));
        Assert.False(buffer.AsSpan(length).ContainsAnyExcept(Canary));
        output = buffer[..length];
        return wrong;
    }
}
