using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vsock;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>Programs of a host, in memory. Every port below 1000 has one that listens.</summary>
internal sealed class FakeVsockHost : IVsockHost
{
    public IVsockDevice Device { get; private set; } = null!;

    public List<FakeVsockPeer> Peers { get; } = [];

    public FakeVsockPeer Last => Peers[^1];

    public void Attach(IVsockDevice device) => Device = device;

    public IVsockPeer? Connect(uint port)
    {
        if (port >= 1000)
        {
            return null;
        }

        Peers.Add(new FakeVsockPeer());
        return Last;
    }
}

internal sealed class FakeVsockPeer : IVsockPeer
{
    private readonly Queue<byte> _incoming = new();
    private byte[] _scratch = [];

    public IVsockConnection Connection { get; private set; } = null!;

    public List<byte> Taken { get; } = [];

    /// <summary>Bytes that can be sent before there is no room; negative: nobody reads.</summary>
    public int Room { get; set; } = int.MaxValue;

    /// <summary>What is sent is not kept, and there is always more to receive.</summary>
    public bool IsEndless { get; set; }

    public bool HasEnded { get; set; }

    public bool WantsReceive { get; private set; }

    public bool WantsSend { get; private set; }

    public bool GuestEnded { get; private set; }

    public uint? AcceptedPort { get; private set; }

    public bool IsDisposed { get; private set; }

    public long Received { get; private set; }

    public void Attach(IVsockConnection connection) => Connection = connection;

    public void Accepted(uint port) => AcceptedPort = port;

    /// <summary>The program writes; the event loop tells if it is to.</summary>
    public void Write(ReadOnlySpan<byte> data)
    {
        foreach (byte each in data)
        {
            _incoming.Enqueue(each);
        }

        Tell();
    }

    public void End()
    {
        HasEnded = true;
        Tell();
    }

    /// <summary>The program reads that many bytes more.</summary>
    public void MakeRoom(int bytes)
    {
        Room = bytes;
        if (WantsSend)
        {
            Connection.SendReady();
        }
    }

    public int Send(ReadOnlySpan<IoVector> data)
    {
        Assert.False(IsDisposed);
        if (Room < 0)
        {
            return -1;
        }

        int length = 0;
        foreach (IoVector part in data)
        {
            length += (int)part.Length;
        }

        length = Math.Min(length, Room);
        if (!IsEndless)
        {
            byte[] bytes = new byte[length];
            Assert.Equal(length, VirtqueueBuffers.CopyFrom(data, bytes));
            Taken.AddRange(bytes);
            Room -= length;
        }

        return length;
    }

    public int Receive(ReadOnlySpan<IoVector> buffers)
    {
        Assert.False(IsDisposed);
        int room = 0;
        foreach (IoVector part in buffers)
        {
            room += (int)part.Length;
        }

        Assert.True(room > 0);
        if (IsEndless)
        {
            Received += room;
            return room;
        }

        if (_incoming.Count == 0)
        {
            return HasEnded ? -1 : 0;
        }

        _scratch = new byte[Math.Min(room, _incoming.Count)];
        for (int i = 0; i < _scratch.Length; i++)
        {
            _scratch[i] = _incoming.Dequeue();
        }

        return VirtqueueBuffers.CopyTo(buffers, _scratch);
    }

    public int Peek()
    {
        Assert.False(IsDisposed);
        return IsEndless || _incoming.Count > 0 ? 1 : HasEnded ? -1 : 0;
    }

    public void Want(bool receive, bool send)
    {
        Assert.False(IsDisposed);
        (WantsReceive, WantsSend) = (receive, send);
    }

    public void EndSend() => GuestEnded = true;

    public void Dispose() => IsDisposed = true;

    private void Tell()
    {
        for (int i = 0; i < 100 && WantsReceive && !IsDisposed && (_incoming.Count > 0 || HasEnded); i++)
        {
            Connection.ReceiveReady();
        }
    }
}
