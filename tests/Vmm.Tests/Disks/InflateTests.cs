using System.IO.Compression;
using System.Text;
using Vmm.Backends.Disks.Qcow2;

namespace Vmm.Tests.Disks;

public sealed class InflateTests
{
    private const int CanaryLength = 64;
    private const byte Canary = 0xa5;

    [Theory]
    [InlineData(CompressionLevel.NoCompression)]
    [InlineData(CompressionLevel.Fastest)]
    [InlineData(CompressionLevel.SmallestSize)]
    public void What_zlib_packs_is_unpacked(CompressionLevel level)
    {
        var random = new Random(3);
        var inflate = new Inflate();
        foreach (int length in new[] { 1, 2, 255, 4096, 65536, 200_000 })
        {
            byte[] plain = new byte[length];
            for (int i = 0; i < length; i++)
            {
                plain[i] = (byte)(i % 7 < 4 ? random.Next(256) : i >> 6);
            }

            byte[] output = new byte[length];
            Assert.True(inflate.TryDecompress(Pack(plain, level), output));
            Assert.Equal(plain, output);
        }
    }

    [Fact]
    public void A_stream_that_expands_without_end_stops_at_the_cluster()
    {
        byte[] packed = Pack(new byte[16 << 20], CompressionLevel.SmallestSize);
        byte[] output = Room(4096);
        Assert.False(new Inflate().TryDecompress(packed, output.AsSpan(0, 4096)));
        AssertCanary(output, 4096, 0);
    }

    /// <summary>Each answer is compared with .NET's now and then: what zlib takes for damaged gives nothing else here.</summary>
    [Fact]
    public void A_million_damaged_streams_are_refused_or_unpacked_as_zlib_does_and_nothing_is_allocated()
    {
        byte[] plain = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(0, 12).Select(i => $"line {i * i} of a cluster, over and over; ")));
        byte[][] streams =
        [
            Pack(plain, CompressionLevel.SmallestSize), Pack(plain, CompressionLevel.Fastest), Pack(plain, CompressionLevel.NoCompression),
            Pack(plain[..40], CompressionLevel.SmallestSize),
        ];
        byte[] bad = new byte[1024];
        byte[] output = Room(plain.Length);
        byte[] expected = new byte[plain.Length];
        var inflate = new Inflate();
        var random = new Random(19);
        int unpacked = 0, compared = 0;
        long allocated = 0;
        for (int i = 0; i < 1_000_000; i++)
        {
            byte[] good = streams[i % streams.Length];
            good.CopyTo(bad, 0);
            for (int changes = random.Next(3); changes >= 0; changes--)
            {
                // The tables of codes are at the start.
                int at = random.Next(random.Next(2) == 0 ? good.Length : Math.Min(good.Length, 40));
                bad[at] ^= (byte)(1 << random.Next(8));
            }

            int length = random.Next(8) == 0 ? random.Next(good.Length + 1) : good.Length;
            int room = random.Next(8) == 0 ? random.Next(1, plain.Length) : i % streams.Length == 3 ? 40 : plain.Length;
            long before = GC.GetAllocatedBytesForCurrentThread();
            bool ok = inflate.TryDecompress(bad.AsSpan(0, length), output.AsSpan(0, room));
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            AssertCanary(output, room, i);
            if (ok)
            {
                unpacked++;
                if (compared < 20_000 && Zlib(bad, length, expected.AsSpan(0, room)))
                {
                    compared++;
                    if (!expected.AsSpan(0, room).SequenceEqual(output.AsSpan(0, room)))
                    {
                        Assert.Fail($"input {i}: unpacks to something else than zlib makes of it");
                    }
                }
            }

            output.AsSpan(0, room).Fill(Canary);
        }

        // The runtime itself may allocate a little on this thread, once, when it compiles a loop anew; what a stream cost would
        // be counted a million times.
        Assert.InRange(allocated, 0, 64 << 10);
        Assert.InRange(unpacked, 10_000, 990_000);
        Assert.InRange(compared, 1_000, 20_000);
    }

    private static bool Zlib(byte[] packed, int length, Span<byte> output)
    {
        using var stream = new DeflateStream(new MemoryStream(packed, 0, length), CompressionMode.Decompress);
        try
        {
            return stream.ReadAtLeast(output, output.Length, throwOnEndOfStream: false) == output.Length;
        }
        catch (InvalidDataException)
        {
            return false;
        }
    }

    private static byte[] Pack(byte[] plain, CompressionLevel level)
    {
        using var memory = new MemoryStream();
        using (var deflate = new DeflateStream(memory, level))
        {
            deflate.Write(plain);
        }

        return memory.ToArray();
    }

    private static byte[] Room(int length)
    {
        byte[] room = new byte[length + CanaryLength];
        room.AsSpan().Fill(Canary);
        return room;
    }

    private static void AssertCanary(byte[] output, int length, int input)
    {
        if (output.AsSpan(length).ContainsAnyExcept(Canary))
        {
            Assert.Fail($"input {input} wrote past the end");
        }
    }
}
