using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>One rule for all devices: a request that is malformed beyond what its status could tell is never completed,
/// and the device asks for its reset. (A driver that polls would take what its buffers held before for an answer.)
/// </summary>
public sealed class MalformedRequestTests
{
    public static IEnumerable<object[]> All =>
        from v in Variant.AllVariants
        from k in Enum.GetValues<MalformedKind>()
        select new object[] { v, k };

    [Theory]
    [MemberData(nameof(All))]
    public void A_malformed_request_is_never_completed(Variant variant, MalformedKind malformed)
    {
        using var target = new TestTarget(TargetOf(malformed), variant);
        ulong at = target.Driver.Allocate(4096);
        target.Rig.Memory.Write(new GuestAddress(at), new byte[4096]);
        target.Rig.Memory.Write(new GuestAddress(at + 2048), (byte)0xee);
        bool first = malformed != MalformedKind.ReceiveBufferOfAByte;   // there the device takes buffers before it needs them
        if (first)
        {
            target.Ring.Add(target.Valid());
        }

        target.Ring.Add(Malformed(malformed, target, at));
        target.Ring.Add(target.Valid());
        target.Poke();
        if (first)
        {
            Assert.True(target.Ring.TryTake(out _, out _), "the request before is served");
        }

        Assert.False(target.Ring.TryTake(out _, out _), "a malformed request, or one behind it, came back");
        Assert.Equal(0xee, target.Ring.Read<byte>(at + 2048));
        target.AssertNeedsReset(Fault(malformed));
    }

    private static TargetKind TargetOf(MalformedKind malformed) => malformed switch
    {
        MalformedKind.BlockHeaderOf4Bytes or MalformedKind.BlockWithoutStatus => TargetKind.Block,
        MalformedKind.ReceiveBufferOfAByte => TargetKind.NetReceive,
        MalformedKind.FrameShorterThanItsHeader or MalformedKind.EmptyFrame => TargetKind.NetTransmit,
        MalformedKind.ControlWithoutAck => TargetKind.NetControl,
        MalformedKind.RandomBytesNowhere => TargetKind.Rng,
        MalformedKind.HalfAPageNumber or MalformedKind.NoPageNumbers or MalformedKind.PageOutsideMemory => TargetKind.BalloonInflate,
        MalformedKind.ReportOfNothing => TargetKind.BalloonReport,
        MalformedKind.NothingToSend => TargetKind.ConsoleTransmit,
        MalformedKind.ShortControlMessage => TargetKind.ConsoleControl,
        _ => TargetKind.VsockTransmit,
    };

    private static string Fault(MalformedKind malformed) => malformed switch
    {
        MalformedKind.BlockWithoutStatus => "no room for its status",
        MalformedKind.ControlWithoutAck => "no room for its answer",
        MalformedKind.RandomBytesNowhere => "no room for a single byte",
        MalformedKind.HalfAPageNumber or MalformedKind.NoPageNumbers => "no page numbers, or a part of one",
        MalformedKind.PageOutsideMemory => "outside the guest's memory",
        MalformedKind.NothingToSend => "holds nothing",
        MalformedKind.ReportOfNothing => "a report holds no memory",
        MalformedKind.PacketShorterThanItsLength => "shorter than its length says",
        MalformedKind.ReceiveBufferOfAByte => "shorter than the header",
        _ => "shorter than its header",
    };

    private static Buffer[] Malformed(MalformedKind malformed, TestTarget target, ulong at)
    {
        switch (malformed)
        {
            case MalformedKind.BlockHeaderOf4Bytes:
                return [new Buffer(at, 4, false), new Buffer(at + 2048, 1, true)];
            case MalformedKind.BlockWithoutStatus:
                return [new Buffer(at, 16, false)];
            case MalformedKind.ReceiveBufferOfAByte:
                return [new Buffer(at + 2048, 1, true)];
            case MalformedKind.FrameShorterThanItsHeader:
                return [new Buffer(at, 11, false)];
            case MalformedKind.EmptyFrame:
                return [new Buffer(at, 0, false)];
            case MalformedKind.PacketShorterThanItsHeader:
                return [new Buffer(at, VsockHeader.Length - 1, false)];
            case MalformedKind.PacketShorterThanItsLength:
                target.Rig.Memory.Write(new GuestAddress(at), new VsockHeader
                {
                    SrcCid = TestDriverVsock.Cid,
                    DstCid = VirtioVsock.HostCid,
                    Type = 1,
                    Op = VsockOp.Rw,
                    Len = 2,
                });
                return [new Buffer(at, VsockHeader.Length + 1, false)];
            case MalformedKind.HalfAPageNumber:
                return [new Buffer(at, 6, false)];
            case MalformedKind.NoPageNumbers:
            case MalformedKind.NothingToSend:
                return [new Buffer(at + 2048, 4, true)];
            case MalformedKind.PageOutsideMemory:
                target.Rig.Memory.Write(new GuestAddress(at + 4), (uint)(TestRig.LowMemory / 4096));
                return [new Buffer(at, 8, false)];
            default:
                return [new Buffer(at, 4, false)];
        }
    }
}

public enum MalformedKind
{
    BlockHeaderOf4Bytes,
    BlockWithoutStatus,
    ReceiveBufferOfAByte,
    FrameShorterThanItsHeader,
    EmptyFrame,
    ControlWithoutAck,
    RandomBytesNowhere,
    PacketShorterThanItsHeader,
    PacketShorterThanItsLength,
    HalfAPageNumber,
    NoPageNumbers,
    PageOutsideMemory,
    ReportOfNothing,
    NothingToSend,
    ShortControlMessage,
}
