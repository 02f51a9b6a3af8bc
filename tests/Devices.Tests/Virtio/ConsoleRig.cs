using System.Buffers.Binary;
using System.Text;
using Vmm.Devices.Legacy;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Console;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>What a port sends to, with as much room as a test gives it.</summary>
internal sealed class FakeSerialOutput : ISerialOutput
{
    private readonly List<byte> _bytes = [];

    public int Room { get; set; } = int.MaxValue;

    public long Total { get; private set; }

    public bool KeepNoRecord { get; set; }

    public string Text => Encoding.Latin1.GetString([.. _bytes]);

    public int Write(ReadOnlySpan<byte> bytes)
    {
        Assert.True(bytes.Length is > 0 and <= 1024);
        int taken = Math.Min(bytes.Length, Room);
        Room -= Room == int.MaxValue ? 0 : taken;
        Total += taken;
        if (!KeepNoRecord)
        {
            _bytes.AddRange(bytes[..taken]);
        }

        return taken;
    }
}

/// <summary>A console and one port with a name, with a driver in front of them.</summary>
internal sealed class ConsoleRig : IDisposable
{
    public const int ControlReceive = 2, ControlTransmit = 3, DataReceive = 4, DataTransmit = 5;
    public const ushort Ready = 0, Add = 1, PortReady = 3, IsConsole = 4, Resize = 5, Open = 6, Name = 7;
    public const ulong MultiportFeature = 1 << 1;

    public ConsoleRig(Variant variant, ulong refuse = 0, bool start = true, string name = "data")
    {
        Console = new ConsolePort("", Screen, isConsole: true);
        Data = new ConsolePort(name, Sink);
        Device = new VirtioConsole("console", Console, Data) { RingFeatures = TestTransports.RingFeatures };
        Driver = new TestDriver(Rig, Device, variant);
        if (start)
        {
            Driver.Start(refuse);
        }
    }

    public TestRig Rig { get; } = new();

    public FakeSerialOutput Screen { get; } = new();

    public FakeSerialOutput Sink { get; } = new();

    public ConsolePort Console { get; }

    public ConsolePort Data { get; }

    public VirtioConsole Device { get; }

    public TestDriver Driver { get; }

    /// <summary>The driver sends a control message and has it taken.</summary>
    public void Tell(uint id, ushort kind, ushort value)
    {
        ulong at = Driver.Allocate(8);
        Rig.Memory.Write(new GuestAddress(at), id | ((ulong)kind << 32) | ((ulong)value << 48));
        Driver.Queues[ControlTransmit].Add(new Buffer(at, 8, false));
        Driver.Transport.Notify(ControlTransmit);
        Assert.True(Rig.RunLoop(1000) < 1000, "the loop spins");
        Assert.True(Driver.Queues[ControlTransmit].TryTake(out _, out _), "not taken");
    }

    /// <summary>Room for messages of the device.</summary>
    public void OfferControl(int buffers = 8, uint length = 96)
    {
        for (int i = 0; i < buffers; i++)
        {
            Driver.Queues[ControlReceive].Add(new Buffer(_next = Driver.Allocate(length), length, true));
            _offered.Enqueue(_next);
        }

        Driver.Transport.Notify(ControlReceive);
        Rig.RunLoop();
    }

    /// <summary>The messages that came: id, event, value, and what follows as text.</summary>
    public List<(uint Id, ushort Kind, ushort Value, string Text)> Messages()
    {
        var messages = new List<(uint, ushort, ushort, string)>();
        while (Driver.Queues[ControlReceive].TryTake(out _, out uint length))
        {
            byte[] bytes = Driver.Fetch(_offered.Dequeue(), (int)length);
            messages.Add((
                BinaryPrimitives.ReadUInt32LittleEndian(bytes), BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(4)),
                BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(6)), Encoding.Latin1.GetString(bytes.AsSpan(8))));
        }

        return messages;
    }

    /// <summary>All that Linux says before a port is used.</summary>
    public void BringUp()
    {
        OfferControl(16);
        Tell(uint.MaxValue, Ready, 1);
        Tell(0, PortReady, 1);
        Tell(1, PortReady, 1);
        Messages();
    }

    public void Send(int queue, string text, int cut = 0)
    {
        ulong at = Driver.Place(Encoding.Latin1.GetBytes(text));
        Driver.Queues[queue].Add(cut == 0
            ? [new Buffer(at, (uint)text.Length, false)]
            : [new Buffer(at, (uint)cut, false), new Buffer(at + (uint)cut, (uint)(text.Length - cut), false)]);
        Driver.Transport.Notify((uint)queue);
        Assert.True(Rig.RunLoop(1000) < 1000, "the loop spins");
    }

    /// <summary>Room for input on a queue; where.</summary>
    public ulong Offer(int queue, uint length)
    {
        ulong at = Driver.Allocate(length);
        Driver.Queues[queue].Add(new Buffer(at, length, true));
        if (Driver.Queues[queue].NeedsNotify())
        {
            Driver.Transport.Notify((uint)queue);
        }

        Rig.RunLoop();
        return at;
    }

    public string Fetch(ulong at, uint length) => Encoding.Latin1.GetString(Driver.Fetch(at, (int)length));

    public void Dispose() => Rig.Dispose();

    private readonly Queue<ulong> _offered = new();
    private ulong _next;
}
