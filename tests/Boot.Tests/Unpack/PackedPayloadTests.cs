using Vmm.Boot.Unpack;

namespace Vmm.Boot.Tests.Unpack;

public sealed class PackedPayloadTests
{
    [Fact]
    public void A_payload_knows_its_compression_and_the_size_behind_it()
    {
        using PackedPayload payload = Read(Packed.WithSize(Packed.Streams["Zstd"], 424));
        Assert.Equal((Compression.Zstd, 424u), (payload.Compression, payload.UnpackedSize));
        Assert.Equal(Packed.Streams["Zstd"].Length + 4, payload.PackedSize);
    }

    [Fact]
    public void The_size_of_a_gzip_payload_is_in_its_own_trailer()
    {
        using PackedPayload payload = Read(Packed.Streams["Gzip"]);
        Assert.Equal((Compression.Gzip, 424u), (payload.Compression, payload.UnpackedSize));
        Assert.Null(payload.Obstacle);
        byte[] output = new byte[424];
        Assert.Null(payload.Unpack(output));
        Assert.Equal(Packed.Text, output);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(119u)]
    [InlineData((1u << 30) + 1)]
    [InlineData(uint.MaxValue)]
    public void An_absurd_size_is_an_error_before_anything_is_unpacked(uint size)
    {
        var error = Assert.Throws<BootException>(() => Read(Packed.WithSize(Packed.Streams["Xz"], size)));
        Assert.Equal($"kernel it: has a payload that declares {size} bytes unpacked, which no kernel has: fetch or build it again", error.Message);
    }

    [Fact]
    public void Damage_is_reported_with_the_format_and_a_remedy()
    {
        byte[] stream = Packed.Streams["Gzip"];
        using PackedPayload payload = Read(stream.With(stream.Length - 8, (byte)(stream[^8] ^ 0x55))); // its checksum
        Assert.Equal(
            "has a payload, compressed by gzip, that is damaged or cut short: fetch or build the kernel again",
            payload.Unpack(new byte[424]));
    }

    [Fact]
    public void An_unknown_compression_is_an_obstacle_and_no_error()
    {
        using PackedPayload payload = Read([1, 2, 3, 4, 5, 6, 7, 8, 9]);
        Assert.Equal((Compression.Unknown, "its compression is unknown to vmm"), (payload.Compression, payload.Obstacle));
        Assert.Throws<InvalidOperationException>(() => payload.Unpack(new byte[8]));
    }

    [Theory]
    [InlineData("Bzip2", "libbz2.so.1.0")]
    [InlineData("Lzma", "liblzma.so.5")]
    [InlineData("Xz", "liblzma.so.5")]
    [InlineData("Lzo", "liblzo2.so.2")]
    [InlineData("Lz4", "liblz4.so.1")]
    [InlineData("Zstd", "libzstd.so.1")]
    public void A_missing_library_is_an_obstacle_that_names_it(string compression, string library)
    {
        using ImageSource source = ImageSource.FromMemory("it", Packed.WithSize(Packed.Streams[compression], 424));
        Assert.Null(PackedPayload.TryRead(source, 0, source.Length, new NoLibraries(), out PackedPayload? payload));
        Assert.Equal($"this system has no {library}", payload!.Obstacle);
        payload.Dispose();
    }

    [Fact]
    public void A_library_that_is_no_such_thing_is_not_found()
    {
        Assert.Equal(0, SystemLibraries.Default.Find("libvmm-no-such-thing.so.1", "f"));
        Assert.Equal(0, SystemLibraries.Default.Find("libc.so.6", "vmm_no_such_function"));
        Assert.NotEqual(0, SystemLibraries.Default.Find("libc.so.6", "madvise"));
    }

    private static PackedPayload Read(byte[] payload)
    {
        using KernelImage kernel = MadeUp.Open(Packed.BzImage(payload));
        return PackedPayload.Read(kernel);
    }

    internal sealed class NoLibraries : SystemLibraries
    {
        public override nint Find(string library, string function) => 0;
    }
}
