using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Tests.Networks;

/// <summary>The protocol of passt and QEMU over a real socket pair.</summary>
public sealed unsafe class FrameStreamTests : IDisposable
{
    private readonly FileDescriptor _peer;
    private readonly FrameStream _stream;

    public FrameStreamTests()
    {
        (FileDescriptor ours, _peer) = UnixSocket.CreatePair();
        _stream = new FrameStream(ours);
    }

    [Fact]
    public void A_frame_goes_out_behind_its_length_wherever_its_parts_lie()
    {
        Assert.True(Send(NetStand.Frame(100), 1, 50, 49));
        Assert.Equal([0, 0, 0, 100, .. NetStand.Frame(100)], Read(1000));
    }

    [Fact]
    public void Frames_come_in_however_the_stream_was_cut()
    {
        byte[] first = NetStand.Frame(60, 1), second = NetStand.Frame(1514, 2), third = NetStand.Frame(65550, 3);
        byte[] all = [.. Framed(first), .. Framed(second), .. Framed(third)];
        var got = new List<byte[]>();
        int at = 0;
        foreach (int piece in new[] { 1, 2, 1, 30, 31, 3, 1500, 20, 40000, all.Length })
        {
            int count = Math.Min(piece, all.Length - at);
            Write(all.AsSpan(at, count));
            at += count;
            while (_stream.TryReceive(out ReadOnlySpan<byte> frame))
            {
                got.Add(frame.ToArray());
            }
        }

        Assert.Equal([first, second, third], got);
        Assert.False(_stream.IsOver);
    }

    [Fact]
    public void A_full_socket_takes_part_of_a_frame_and_the_rest_follows()
    {
        byte[] frame = NetStand.Frame(65550);
        int sent = 0;
        while (Send(frame))
        {
            sent++;
        }

        Assert.InRange(sent, 1, 100);
        var received = new List<byte>();
        while (received.Count < sent * (frame.Length + 4))
        {
            received.AddRange(Read(1 << 16));
            _stream.Flush();
        }

        Assert.True(_stream.Flush());
        byte[] framed = Framed(frame);
        for (int i = 0; i < sent; i++)
        {
            Assert.True(received.Skip(i * framed.Length).Take(framed.Length).SequenceEqual(framed));
        }

        Assert.Equal(sent * framed.Length, received.Count);
        Assert.True(Send(frame));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(13)]
    public void Frames_shorter_than_an_Ethernet_header_are_skipped_and_counted(int length)
    {
        Write([.. Framed(new byte[length]), .. Framed(NetStand.Frame(14))]);
        Assert.True(_stream.TryReceive(out ReadOnlySpan<byte> frame));
        Assert.Equal(NetStand.Frame(14), frame.ToArray());
        Assert.Equal(1, _stream.Runts);
    }

    [Theory]
    [InlineData(65551u)]
    [InlineData(0x8000_0000u)]
    [InlineData(0xffff_ffffu)]
    public void A_length_that_no_frame_has_ends_the_connection(uint length)
    {
        byte[] prefix = new byte[100];
        BinaryPrimitives.WriteUInt32BigEndian(prefix, length);
        Write([.. Framed(NetStand.Frame(60)), .. prefix]);
        Assert.True(_stream.TryReceive(out _));
        Assert.False(_stream.TryReceive(out _));
        Write([1]);
        Assert.False(_stream.TryReceive(out _));
        Assert.True(_stream.IsOver);
        Assert.Contains($"{length}", _stream.Fault, StringComparison.Ordinal);
    }

    [Fact]
    public void The_end_of_the_other_side_is_noticed_both_ways_and_frames_before_it_arrive()
    {
        Write(Framed(NetStand.Frame(60)));
        _peer.Dispose();
        Assert.True(_stream.TryReceive(out _));
        Assert.False(_stream.TryReceive(out _));
        Assert.True(_stream.IsOver);
        Assert.Null(_stream.Fault);
        Assert.True(Send(NetStand.Frame(60)));      // and is dropped
    }

    public void Dispose()
    {
        _stream.Dispose();
        _peer.Dispose();
    }

    internal static byte[] Framed(byte[] frame)
    {
        byte[] framed = new byte[4 + frame.Length];
        BinaryPrimitives.WriteUInt32BigEndian(framed, (uint)frame.Length);
        frame.CopyTo(framed, 4);
        return framed;
    }

    private bool Send(byte[] frame, params int[] parts)
    {
        byte[] pinned = GC.AllocateUninitializedArray<byte>(frame.Length, pinned: true);
        frame.CopyTo(pinned, 0);
        var vectors = new List<IoVector>();
        int at = 0;
        foreach (int part in parts.Length == 0 ? [frame.Length] : parts)
        {
            vectors.Add(new IoVector(Marshal.UnsafeAddrOfPinnedArrayElement(pinned, at), (nuint)part));
            at += part;
        }

        return _stream.TrySend(CollectionsMarshal.AsSpan(vectors));
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            Assert.Equal(bytes.Length, LibC.write(_peer.Number, start, bytes.Length));
        }
    }

    private byte[] Read(int most)
    {
        byte[] bytes = new byte[most];
        fixed (byte* start = bytes)
        {
            return bytes[..(int)LibC.read(_peer.Number, start, most)];
        }
    }
}
