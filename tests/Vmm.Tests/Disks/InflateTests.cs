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
        foreach (int length in new[] { 1, 2, 255, 4096, 65536, 200_000 })
        {
            byte[] plain = new byte[length];
            for (int i = 0; i < length; i++)
            {
                plain[i] = (byte)(i % 7 < 4 ? random.Next(256) : i >> 6);
            }

            byte[] output = new byte[length];
            Assert.True(Qcow2Decompressor.TryInflate(Pack(plain, level), output));
            Assert.Equal(plain, output);
        }
    }

    [Fact]
    public void A_stream_that_expands_without_end_stops_at_the_cluster()
    {
        byte[] packed = Pack(new byte[16 << 20], CompressionLevel.SmallestSize);
        byte[] output = Room(4096);
        Assert.False(Qcow2Decompressor.TryInflate(packed, output.AsSpan(0, 4096)));
        AssertCanary(output, 4096, 0);
    }

    [Fact]
    public void Damaged_streams_are_refused_or_unpacked_within_the_cluster()
    {
        byte[] plain = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(0, 12).Select(i => $"line {i * i} of a cluster, over and over; ")));
        byte[][] streams =
        [
            Pack(plain, CompressionLevel.SmallestSize), Pack(plain, CompressionLevel.Fastest), Pack(plain, CompressionLevel.NoCompression),
            Pack(plain[..40], CompressionLevel.SmallestSize),
        ];
        byte[] bad = new byte[1024];
        byte[] output = Room(plain.Length);
        var random = new Random(19);
        int unpacked = 0;
        const int Inputs = 20_000;
        for (int i = 0; i < Inputs; i++)
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
            unpacked += Qcow2Decompressor.TryInflate(bad.AsSpan(0, length), output.AsSpan(0, room)) ? 1 : 0;
            AssertCanary(output, room, i);
            output.AsSpan(0, room).Fill(Canary);
        }

        Assert.InRange(unpacked, 200, Inputs - 200);
    }

    [Fact]
    public void A_cluster_costs_some_small_objects()
    {
        byte[] packed = Pack(new byte[65536], CompressionLevel.SmallestSize);
        byte[] output = new byte[65536];
        Assert.InRange(
            Vmm.Tests.Shared.Allocations.Least(() =>
            {
                for (int i = 0; i < 100; i++)
                {
                    Assert.True(Qcow2Decompressor.TryInflate(packed, output));
                }
            }),
            0, 100 * 512);
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
