using Vmm.Devices.Memory;
using Vmm.Devices.Tests.Virtio;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;
using Vmm.Host;
using Vmm.Machines;
using Buffer = Vmm.Devices.Tests.Virtio.Buffer;

namespace Vmm.Tests.Networks;

/// <summary>A card with real rings over a backend of the host. The event loop takes its turns when the test says so, on
/// the test's own thread.</summary>
internal sealed class NetStand : IDisposable
{
    private const int Receive = 0, Transmit = 1;
    private const uint BufferBytes = 1526;

    private readonly TestRig _rig = new();
    private readonly TestDriver _driver;
    private readonly Dictionary<int, ulong> _buffers = [];
    private readonly ulong _sendBuffer;

    /// <param name="loop">The backend is on it; not started.</param>
    public NetStand(EventLoop loop, INetBackend backend, byte[]? mac = null, ulong refuse = 0)
    {
        Loop = loop;
        Card = new VirtioNet("net0", backend, new NetOptions { Mac = mac ?? [2, 0, 0, 0, 0, 1] });
        _driver = new TestDriver(_rig, Card, Variant.Default);
        _driver.Start(refuse);
        _sendBuffer = _driver.Allocate(1 << 17);
    }

    public EventLoop Loop { get; }

    public VirtioNet Card { get; }

    public bool LinkIsUp => (_driver.Transport.ReadConfig32(4) >> 16) == 1;

    public static byte[] Frame(int length, byte seed = 1)
    {
        byte[] frame = new byte[length];
        new Random(seed).NextBytes(frame);
        return frame;
    }

    /// <summary>Has the guest send a frame; it is given back at once, sent or not.</summary>
    /// <returns>False when it waits for room.</returns>
    public bool Send(ReadOnlySpan<byte> frame)
    {
        byte[] whole = [.. new byte[VirtioNet.HeaderBytes], .. frame];
        _rig.Memory.Write(new GuestAddress(_sendBuffer), whole);
        _driver.Queues[Transmit].Add(new Buffer(_sendBuffer, (uint)whole.Length, Writable: false));
        _driver.Kick(Transmit);
        return TrySent();
    }

    public bool TrySent() => _driver.Queues[Transmit].TryTake(out _, out _);

    /// <summary>Has the guest offer buffers for frames.</summary>
    public void Offer(int count)
    {
        for (int i = 0; i < count; i++)
        {
            ulong at = _driver.Allocate(BufferBytes);
            _buffers[_driver.Queues[Receive].Add(new Buffer(at, BufferBytes, Writable: true))] = at;
        }

        _driver.Kick(Receive);
    }

    /// <summary>Offers a buffer again that <see cref="TakeFrame"/> gave back.</summary>
    public void OfferAgain(ulong at) =>
        _buffers[_driver.Queues[Receive].Add(new Buffer(at, BufferBytes, Writable: true))] = at;

    public void Kick() => _driver.Kick(Receive);

    /// <summary>The next frame that the guest got, without its header; null when there is none.</summary>
    public byte[]? TakeFrame() => TakeFrame(out _);

    public byte[]? TakeFrame(out ulong buffer)
    {
        buffer = 0;
        if (!_driver.Queues[Receive].TryTake(out int id, out uint length))
        {
            return null;
        }

        Assert.True(_buffers.Remove(id, out buffer));
        var whole = new List<byte>(Fetch(buffer, length));
        int parts = whole[10] | (whole[11] << 8);
        for (int i = 1; i < parts; i++)
        {
            Assert.True(_driver.Queues[Receive].TryTake(out id, out length));
            whole.AddRange(Fetch(_buffers[id], length));
        }

        return [.. whole.Skip(VirtioNet.HeaderBytes)];
    }

    /// <summary>Lets the loop take turns until something is true.</summary>
    public void RunUntil(Func<bool> condition)
    {
        DateTime end = DateTime.UtcNow + TimeSpan.FromSeconds(60);
        while (!condition())
        {
            Assert.True(DateTime.UtcNow < end, "what must come does not come");
            Turn(50);
        }
    }

    /// <summary>Lets the loop take turns until there is nothing to do.</summary>
    public void Settle()
    {
        while (Turn(0) > 0)
        {
            // there may be more
        }
    }

    public int Turn(int timeoutMilliseconds)
    {
        int events = Loop.Turn(timeoutMilliseconds);
        _rig.RunLoop();
        return events;
    }

    public void Dispose() => _rig.Dispose();

    private byte[] Fetch(ulong address, uint length)
    {
        byte[] bytes = new byte[length];
        _rig.Memory.Read(new GuestAddress(address), bytes);
        return bytes;
    }
}

/// <summary>What the backends say.</summary>
internal sealed class SaidLog : IDeviceLog
{
    public List<string> Lines { get; } = [];

    public void Warn(string device, string message) => Lines.Add($"{device}: {message}");
}
