using Vmm.Devices.State;
using Vmm.Devices.Virtio;

namespace Vmm.Devices.Tests.Virtio;

public sealed class ConsoleTests
{
    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Ports_are_made_known_named_and_opened(Variant variant)
    {
        using var rig = new ConsoleRig(variant);
        Assert.Equal(3u, rig.Driver.Transport.DeviceId);
        Assert.Equal(2u, rig.Driver.Transport.ReadConfig32(4));
        rig.OfferControl(3);
        rig.Tell(uint.MaxValue, ConsoleRig.Ready, 1);
        Assert.Equal([(0u, ConsoleRig.Add, 1, ""), (1u, ConsoleRig.Add, 1, "")], rig.Messages());
        rig.Tell(0, ConsoleRig.PortReady, 1);
        Assert.Equal([(0u, ConsoleRig.IsConsole, 1, "")], rig.Messages());
        rig.OfferControl(1);        // what found no buffer comes when there is one
        Assert.Equal([(0u, ConsoleRig.Open, 1, "")], rig.Messages());
        rig.OfferControl();
        rig.Tell(1, ConsoleRig.PortReady, 1);
        Assert.Equal([(1u, ConsoleRig.Name, 1, "data")], rig.Messages());
        rig.Data.SetConnected(true);
        rig.Data.SetConnected(true);
        Assert.Equal([(1u, ConsoleRig.Open, 1, "")], rig.Messages());
        rig.Data.SetConnected(false);
        Assert.Equal([(1u, ConsoleRig.Open, 0, "")], rig.Messages());
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Bytes_pass_both_ways_on_each_port(Variant variant)
    {
        using var rig = new ConsoleRig(variant);
        rig.BringUp();
        rig.Send(1, "to the screen", cut: 3);
        rig.Send(ConsoleRig.DataTransmit, new string('x', 5000));
        Assert.Equal("to the screen", rig.Screen.Text);
        Assert.Equal(new string('x', 5000), rig.Sink.Text);
        Assert.True(rig.Driver.Queues[1].TryTake(out _, out uint length));
        Assert.Equal(0u, length);

        // A console takes input at any time, another port once a program has it open.
        int woken = 0;
        rig.Data.InputSpaceAvailable += () => woken++;
        ulong first = rig.Offer(ConsoleRig.DataReceive, 4), second = rig.Offer(ConsoleRig.DataReceive, 100);
        Assert.Equal(0, rig.Data.Receive("hello"u8));
        rig.Tell(1, ConsoleRig.Open, 1);
        Assert.Equal(1, woken);
        Assert.Equal(5, rig.Data.Receive("hello"u8));
        Assert.Equal("hell", rig.Fetch(first, 4));
        Assert.Equal("o", rig.Fetch(second, 1));
        Assert.True(rig.Driver.Queues[ConsoleRig.DataReceive].TryTake(out _, out length));
        Assert.Equal(4u, length);
        Assert.True(rig.Driver.Queues[ConsoleRig.DataReceive].TryTake(out _, out length));
        Assert.Equal(1u, length);
        ulong screen = rig.Offer(0, 16);
        Assert.Equal(3, rig.Console.Receive("key"u8));
        Assert.Equal("key", rig.Fetch(screen, 3));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void Input_without_buffers_waits_for_them(Variant variant)
    {
        using var rig = new ConsoleRig(variant);
        int woken = 0;
        rig.Console.InputSpaceAvailable += () => woken++;
        rig.BringUp();
        rig.Offer(0, 2);
        Assert.Equal(2, rig.Console.Receive("abc"u8));
        Assert.Equal(0, woken);
        ulong at = rig.Offer(0, 2);
        Assert.Equal(1, woken);
        Assert.Equal(1, rig.Console.Receive("c"u8));
        Assert.Equal("c", rig.Fetch(at, 1));
        rig.Offer(0, 2);
        Assert.Equal(1, woken);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void An_output_that_is_full_holds_the_guest_back_and_nothing_is_lost(Variant variant)
    {
        using var rig = new ConsoleRig(variant);
        rig.BringUp();
        string text = string.Concat(Enumerable.Range(0, 500).Select(static i => $"{i:d4}"));
        rig.Screen.Room = 1500;
        rig.Send(1, text, cut: 333);
        rig.Send(1, "end");
        Assert.False(rig.Driver.Queues[1].TryTake(out _, out _));
        Assert.Equal(0, rig.Rig.RunLoop());     // and no spinning
        rig.Screen.Room = 100;
        rig.Console.OutputDrained();
        rig.Rig.RunLoop();
        Assert.Equal(text[..1600], rig.Screen.Text);

        // What is left goes on in a machine that takes over.
        byte[] state = StateWriter.Save(rig.Driver.Transport.State);
        using var other = new ConsoleRig(variant, start: false);
        other.Rig.Test.CopyFrom(rig.Rig.Test);
        StateReader.Load(state, "m", other.Driver.Transport.State);
        other.Rig.RunLoop();
        Assert.Equal(text[1600..] + "end", other.Screen.Text);

        rig.Screen.Room = int.MaxValue;
        rig.Console.OutputDrained();
        rig.Rig.RunLoop();
        Assert.Equal(text + "end", rig.Screen.Text);
        Assert.True(rig.Driver.Queues[1].TryTake(out _, out _) && rig.Driver.Queues[1].TryTake(out _, out _));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_change_of_the_terminals_size_is_reported(Variant variant)
    {
        using var rig = new ConsoleRig(variant);
        rig.Device.SetSize(80, 24);
        Assert.Equal(2u, rig.Driver.Transport.TakeInterrupts() & 2);
        Assert.Equal(80u | (24u << 16), rig.Driver.Transport.ReadConfig32(0));
        rig.OfferControl(16);
        rig.Tell(uint.MaxValue, ConsoleRig.Ready, 1);
        rig.Tell(0, ConsoleRig.PortReady, 1);
        Assert.Contains((0u, ConsoleRig.Resize, (ushort)0, "\x50\0\x18\0"), rig.Messages());
        rig.Device.SetSize(132, 43);
        Assert.Equal([(0u, ConsoleRig.Resize, 0, "\x84\0\x2b\0")], rig.Messages());
        rig.Device.SetSize(132, 43);
        Assert.Empty(rig.Messages());
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_driver_of_one_port_has_the_console(Variant variant)
    {
        using var rig = new ConsoleRig(variant, refuse: ConsoleRig.MultiportFeature);
        rig.Send(1, "plain");
        Assert.Equal("plain", rig.Screen.Text);
        ulong at = rig.Offer(0, 8);
        Assert.Equal(2, rig.Console.Receive("in"u8));
        Assert.Equal("in", rig.Fetch(at, 2));
        Assert.Equal(0, rig.Data.Receive("in"u8));
    }

    [Fact]
    public void Messages_of_no_port_and_of_no_kind_are_nothing()
    {
        using var rig = new ConsoleRig(Variant.Default);
        rig.BringUp();
        foreach (uint id in new uint[] { 2, 31, uint.MaxValue })
        {
            rig.Tell(id, ConsoleRig.PortReady, 1);
            rig.Tell(id, ConsoleRig.Open, 1);
        }

        for (ushort kind = 8; kind < 20; kind++)
        {
            rig.Tell(0, kind, 1);
        }

        Assert.Empty(rig.Messages());
        Assert.Empty(rig.Rig.Log);
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_buffer_without_room_for_a_message_is_refused(Variant variant)
    {
        using var rig = new ConsoleRig(variant);
        rig.OfferControl(4, length: 8);
        rig.Tell(uint.MaxValue, ConsoleRig.Ready, 1);
        rig.Driver.Queues[ConsoleRig.ControlTransmit].Add(new Buffer(rig.Driver.Allocate(8), 8, false));
        rig.Messages();
        ulong at = rig.Driver.Allocate(8);
        rig.Rig.Memory.Write(new Devices.Memory.GuestAddress(at), 1UL | (3UL << 32) | (1UL << 48));
        rig.Driver.Queues[ConsoleRig.ControlTransmit].Add(new Buffer(at, 8, false));
        rig.Driver.Transport.Notify(ConsoleRig.ControlTransmit);
        rig.Rig.RunLoop();      // port 1 is ready: its name does not fit
        Assert.Contains("no room for a control message", Assert.Single(rig.Rig.Log), StringComparison.Ordinal);
    }

    [Fact]
    public void A_message_asked_for_without_end_is_sent_as_often_as_there_are_buffers()
    {
        using var rig = new ConsoleRig(Variant.Default);
        rig.BringUp();
        for (int i = 0; i < 1000; i++)
        {
            rig.Tell(1, ConsoleRig.PortReady, 1);
        }

        rig.OfferControl(8);
        Assert.InRange(rig.Messages().Count, 1, 24);
    }

    [Fact]
    public void One_buffer_of_many_bytes_takes_many_turns()
    {
        using var rig = new ConsoleRig(Variant.Default);
        rig.BringUp();
        rig.Screen.KeepNoRecord = true;
        var same = new Buffer(TestDriver.DataStart, 64 << 10, false);
        rig.Driver.Queues[1].Add([same, same, same, same]);
        rig.Driver.Transport.Notify(1);
        rig.Rig.RunLoop(turns: 1);
        Assert.Equal(64 << 10, rig.Screen.Total);
        rig.Rig.RunLoop();
        Assert.Equal(256 << 10, rig.Screen.Total);
        Assert.True(rig.Driver.Queues[1].TryTake(out _, out _));
    }

    [Theory]
    [MemberData(nameof(Variant.All), MemberType = typeof(Variant))]
    public void A_machine_with_a_loaded_state_reports_the_connected_ports(Variant variant)
    {
        using var rig = new ConsoleRig(variant);
        rig.BringUp();
        rig.Data.SetConnected(true);
        rig.Messages();
        rig.OfferControl(4);
        byte[] state = StateWriter.Save(rig.Driver.Transport.State);
        using var other = new ConsoleRig(variant, start: false);
        other.Rig.Test.CopyFrom(rig.Rig.Test);
        StateReader.Load(state, "m", other.Driver.Transport.State);
        other.Rig.RunLoop();
        Assert.Contains("\"connected\":false,\"pending\":0", System.Text.Encoding.UTF8.GetString(
            StateWriter.Save(other.Driver.Transport.State)), StringComparison.Ordinal);
        using var renamed = new ConsoleRig(variant, start: false, name: "other");
        Assert.EndsWith("ports[1].name", Assert.Throws<StateException>(
            () => StateReader.Load(state, "m", renamed.Driver.Transport.State)).Field, StringComparison.Ordinal);
    }
}
