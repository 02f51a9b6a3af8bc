using System.Runtime.InteropServices;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>The guest's side of a socket device: packets out, and packets in.</summary>
internal sealed class TestDriverVsock
{
    public const uint Cid = 3;
    public const uint GuestPort = 777;

    /// <summary>Buffers, and packets, that may be with the device at a time.</summary>
    public const int Most = 64;

    private const int Receive = 0, Transmit = 1;
    private const uint MostPacketBytes = 70_000, ShortPacketBytes = 128;

    private readonly TestRig _rig;
    private readonly Dictionary<int, (ulong Address, uint Length)> _offered = [];
    private readonly Dictionary<uint, Stack<ulong>> _free = [];
    private readonly ulong _longPacket;
    private readonly Queue<ulong> _shortPackets = new();
    private readonly Dictionary<int, ulong> _sent = [];

    public TestDriverVsock(TestRig rig, VirtioVsock device, Variant variant)
        : this(rig, device, new TestDriver(rig, device, variant))
    {
    }

    /// <summary>Another driver for the same device, which has all memory to itself again.</summary>
    public TestDriverVsock(TestRig rig, TestDriverVsock before)
        : this(rig, before.Device, new TestDriver(rig, before.Driver.Transport, RingKind.Split))
    {
    }

    private TestDriverVsock(TestRig rig, VirtioVsock device, TestDriver driver)
    {
        (_rig, Device, Driver) = (rig, device, driver);
        Driver.Start();
        _longPacket = Driver.Allocate(MostPacketBytes);
        for (int i = 0; i < Most * 2; i++)
        {
            _shortPackets.Enqueue(Driver.Allocate(ShortPacketBytes));
        }
    }

    public VirtioVsock Device { get; }

    public TestDriver Driver { get; }

    /// <summary>What each packet says of this side's room.</summary>
    public uint BufAlloc { get; set; } = 1 << 20;

    /// <summary>What each packet says that this side has read.</summary>
    public uint FwdCnt { get; set; }

    /// <summary>Buffers for packets that are with the device.</summary>
    public int Offered => _offered.Count;

    /// <summary>Packets that the device has not given back.</summary>
    public int InFlight => _sent.Count;

    /// <summary>Has the guest offer buffers for packets.</summary>
    public void Offer(int count, uint length = 4096 + VsockHeader.Length)
    {
        for (int i = 0; i < count; i++)
        {
            ulong at = _free.TryGetValue(length, out Stack<ulong>? free) && free.TryPop(out ulong used) ? used : Driver.Allocate(length);
            _offered[Driver.Queues[Receive].Add(new Buffer(at, length, Writable: true))] = (at, length);
        }

        Driver.Kick(Receive);
    }

    public VsockHeader Header(VsockOp op, uint hostPort, int length = 0, VsockShutdown flags = VsockShutdown.None) => new()
    {
        SrcCid = Cid,
        DstCid = VirtioVsock.HostCid,
        SrcPort = GuestPort,
        DstPort = hostPort,
        Len = (uint)length,
        Type = 1,
        Op = op,
        Flags = flags,
        BufAlloc = BufAlloc,
        FwdCnt = FwdCnt,
    };

    public void Send(VsockOp op, uint hostPort, ReadOnlySpan<byte> data = default, VsockShutdown flags = VsockShutdown.None) =>
        Send(Header(op, hostPort, data.Length, flags), data);

    /// <param name="cuts">Where descriptors begin, besides the first.</param>
    public void Send(VsockHeader header, ReadOnlySpan<byte> data = default, params ReadOnlySpan<uint> cuts)
    {
        byte[] packet = [.. MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header)), .. data];
        SendRaw(packet, cuts);
    }

    /// <summary>Sends anything. A short packet has memory of its own until the device gives it back.</summary>
    public void SendRaw(ReadOnlySpan<byte> packet, params ReadOnlySpan<uint> cuts)
    {
        ulong at = packet.Length <= ShortPacketBytes ? _shortPackets.Dequeue() : _longPacket;
        _rig.Memory.Write(new GuestAddress(at), packet);
        var buffers = new List<Buffer>();
        uint start = 0;
        foreach (uint cut in (uint[])[.. cuts, (uint)packet.Length])
        {
            buffers.Add(new Buffer(at + start, cut - start, Writable: false));
            start = cut;
        }

        _sent.Add(Driver.Queues[Transmit].Add([.. buffers]), at);
        Driver.Kick(Transmit);
        Reap();
    }

    /// <summary>Takes back what the device is done with.</summary>
    public void Reap()
    {
        while (Driver.Queues[Transmit].TryTake(out int id, out _))
        {
            Assert.True(_sent.Remove(id, out ulong at));
            if (at != _longPacket)
            {
                _shortPackets.Enqueue(at);
            }
        }
    }

    /// <summary>The next packet that the guest got; null when there is none.</summary>
    public (VsockHeader Header, byte[] Data)? Take()
    {
        if (!Driver.Queues[Receive].TryTake(out int id, out uint length))
        {
            return null;
        }

        Assert.True(_offered.Remove(id, out (ulong Address, uint Length) buffer));
        var packet = new byte[length];
        _rig.Memory.Read(new GuestAddress(buffer.Address), packet);
        if (!_free.TryGetValue(buffer.Length, out Stack<ulong>? free))
        {
            _free.Add(buffer.Length, free = new Stack<ulong>());
        }

        free.Push(buffer.Address);
        VsockHeader header = MemoryMarshal.Read<VsockHeader>(packet);
        Assert.Equal((VirtioVsock.HostCid, Cid, length - VsockHeader.Length), (header.SrcCid, header.DstCid, header.Len));
        return (header, packet[VsockHeader.Length..]);
    }

    /// <summary>Takes the next packet, which must be of this kind.</summary>
    public (VsockHeader Header, byte[] Data) Expect(VsockOp op)
    {
        (VsockHeader Header, byte[] Data) packet = Take() ?? throw new InvalidOperationException($"no packet; wanted {op}");
        Assert.Equal(op, packet.Header.Op);
        return packet;
    }

    /// <summary>Has the guest connect to a port at which somebody listens.</summary>
    public void Connect(uint hostPort)
    {
        Offer(1);
        Send(VsockOp.Request, hostPort);
        Expect(VsockOp.Response);
    }
}
