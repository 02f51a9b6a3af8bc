namespace Vmm.Devices.Virtio.Vsock;

/// <summary>What the guest's sockets are connected to: the programs of the host.</summary>
/// <remarks>All calls, here and on <see cref="IVsockPeer"/>, come with the device's gate held, from any thread; none
/// blocks.</remarks>
public interface IVsockHost
{
    /// <summary>Names the device. Called once, first.</summary>
    void Attach(IVsockDevice device);

    /// <summary>The guest connects to a port of the host.</summary>
    /// <returns>Null where no program listens there.</returns>
    IVsockPeer? Connect(uint port);
}

/// <summary>The host's end of one connection.</summary>
public interface IVsockPeer : IDisposable
{
    /// <summary>Names the guest's end. Called once, first.</summary>
    void Attach(IVsockConnection connection);

    /// <summary>The guest accepted the connection that the host asked for.</summary>
    /// <param name="port">The host's own port in it.</param>
    void Accepted(uint port);

    /// <summary>Takes what the guest sent, as much as there is room for.</summary>
    /// <returns>Bytes taken; negative when the program will not read any more.</returns>
    int Send(ReadOnlySpan<IoVector> data);

    /// <summary>Fills buffers of the guest's.</summary>
    /// <returns>Bytes; 0 when there are none now, negative when no more will come.</returns>
    int Receive(ReadOnlySpan<IoVector> buffers);

    /// <summary>Is there something to receive?</summary>
    /// <returns>As <see cref="Receive"/>: positive when there are bytes, 0 when there are none now, negative when no
    /// more will come.</returns>
    int Peek();

    /// <summary>Chooses which of <see cref="IVsockConnection.ReceiveReady"/> and <see cref="IVsockConnection.SendReady"/> are
    /// called when ready. Neither at first.</summary>
    void Want(bool receive, bool send);

    /// <summary>The guest will send no more.</summary>
    void EndSend();
}

/// <summary>Events of a stream, raised on the event-loop thread without any lock held: the device calls back.
/// </summary>
public interface IVsockConnection
{
    /// <summary>There are bytes for the guest, or their end.</summary>
    void ReceiveReady();

    /// <summary>The host's program can take bytes of the guest.</summary>
    void SendReady();

    /// <summary>The host's program has closed its end. What it sent before can still be received.</summary>
    void HungUp();
}

/// <summary>What the host asks of the device.</summary>
public interface IVsockDevice
{
    /// <summary>A program of the host connects to a port of the guest. On the event-loop thread.</summary>
    /// <returns>False when there is no driver, or too many connections are open; the stream is still the caller's then.
    /// </returns>
    bool Connect(IVsockPeer peer, uint port);
}
