using Vmm.Devices.State;
using Vmm.Devices.Tests.Virtio;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;
using Buffer = Vmm.Devices.Tests.Virtio.Buffer;

namespace Vmm.Devices.Tests.State;

/// <summary>Connections do not outlive the machine that had them; the guest hears of that, and can connect anew.</summary>
public sealed class VsockStateTests : IDisposable
{
    private const uint Port = 5;
    private const int EventQueue = 2;

    private readonly TestRig _rig = new(), _other = new();
    private readonly FakeVsockHost _host = new(), _otherHost = new();

    public static TheoryData<Variant> All => Variant.All;

    public void Dispose()
    {
        _rig.Dispose();
        _other.Dispose();
    }

    [Theory]
    [MemberData(nameof(All))]
    public void A_guest_with_connections_is_told_that_they_are_gone(Variant variant)
    {
        TestDriverVsock guest = Guest(variant);
        guest.Connect(Port);
        guest.Send(VsockOp.Rw, Port, [1, 2, 3]);
        ulong buffer = guest.Driver.Allocate(16);
        guest.Driver.Queues[EventQueue].Write(buffer, 0xdeadbeef);
        guest.Driver.Queues[EventQueue].Add(new Buffer(buffer, 8, true));
        guest.Driver.Transport.Notify(EventQueue);
        _rig.RunLoop();
        Assert.False(guest.Driver.Queues[EventQueue].TryTake(out _, out _));

        VirtioVsock other = TakeOver(guest, variant, TestDriverVsock.Cid);
        _other.RunLoop();
        _rig.Test.CopyFrom(_other.Test);        // where the driver looks
        Assert.True(guest.Driver.Queues[EventQueue].TryTake(out _, out uint length));
        Assert.Equal(4u, length);
        Assert.Equal(0u, guest.Driver.Queues[EventQueue].Read<uint>(buffer));       // VIRTIO_VSOCK_EVENT_TRANSPORT_RESET
        Assert.Equal(0, other.Connections);
        Assert.True(_otherHost.Device.Connect(new FakeVsockPeer(), 1000));          // and it can connect again
        Assert.Empty(_other.Log);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void A_guest_without_a_buffer_for_it_is_told_later_and_others_not_at_all(Variant variant)
    {
        TestDriverVsock guest = Guest(variant);
        guest.Connect(Port);
        TakeOver(guest, variant, TestDriverVsock.Cid);
        _other.RunLoop();
        Assert.Equal("""{"version":1,"id":19,"cid":3,"nextHostPort":1073741824,"owesReset":true,"refusals":[]}""", DeviceState());
        guest.Send(VsockOp.Rst, Port);
        Assert.Contains("\"owesReset\":false", System.Text.Encoding.UTF8.GetString(StateWriter.Save(guest.Driver.Transport.State)), StringComparison.Ordinal);
    }

    [Fact]
    public void A_changed_address_is_reported()
    {
        TestDriverVsock guest = Guest(Variant.Default);
        TakeOver(guest, Variant.Default, cid: 77);
        _other.RunLoop();
        Assert.Contains("\"owesReset\":true", DeviceState(), StringComparison.Ordinal);
    }

    [Fact]
    public void Requests_without_an_answer_are_refused()
    {
        TestDriverVsock guest = Guest(Variant.Default);
        guest.Send(guest.Header(VsockOp.Request, Port) with { SrcPort = 1 });       // accepted; and there is no buffer to say so
        guest.Send(guest.Header(VsockOp.Request, 1000) with { SrcPort = 2 });       // refused
        TakeOver(guest, Variant.Default, TestDriverVsock.Cid);
        Assert.Contains(
            """{"guestPort":2,"hostPort":1000,"type":1},{"guestPort":1,"hostPort":5,"type":1}""", DeviceState(),
            StringComparison.Ordinal);
    }

    private TestTransport? _taken;

    private TestDriverVsock Guest(Variant variant) =>
        new(_rig, new VirtioVsock("vsock", _host, TestDriverVsock.Cid) { RingFeatures = TestTransports.RingFeatures }, variant);

    private VirtioVsock TakeOver(TestDriverVsock guest, Variant variant, uint cid)
    {
        var device = new VirtioVsock("vsock", _otherHost, cid) { RingFeatures = TestTransports.RingFeatures };
        _taken = TestTransports.Create(variant.Transport, _other, device);
        byte[] state = StateWriter.Save(guest.Driver.Transport.State);
        _other.Test.CopyFrom(_rig.Test);
        StateReader.Load(state, "m", _taken.State);
        return device;
    }

    private string DeviceState()
    {
        string all = System.Text.Encoding.UTF8.GetString(StateWriter.Save(_taken!.State));
        int start = all.IndexOf("\"device\":{\"version\"", StringComparison.Ordinal) + "\"device\":".Length;
        return all[start..(all.IndexOf("]}", start, StringComparison.Ordinal) + 2)];
    }
}
