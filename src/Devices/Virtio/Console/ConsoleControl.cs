using System.Buffers.Binary;
using System.Text;

namespace Vmm.Devices.Virtio.Console;

/// <summary>The control queues (virtio 1.2, section 5.3.6.2): <c>struct virtio_console_control</c> of id:32, event:16, value:16,
/// followed by the event's data. Pending messages are bits of each port, so that a guest that asks again and again uses no more
/// memory.</summary>
public sealed partial class VirtioConsole
{
    private const int ControlReceive = 2;       // the driver's: messages of the device
    private const int ControlTransmit = 3;
    private const int MessageBytes = 8;
    private const int MostMessageBytes = MessageBytes + ConsolePort.MostNameBytes;
    private const string ShortMessage = "a control message is shorter than its header";
    private const string NoRoomForMessage = "a buffer has no room for a control message";

    private enum Event : ushort
    {
        DeviceReady = 0,    // VIRTIO_CONSOLE_DEVICE_READY, and so on
        DeviceAdd = 1,
        PortReady = 3,
        ConsolePort = 4,
        Resize = 5,
        PortOpen = 6,
        PortName = 7,
    }

    /// <inheritdoc cref="ConsolePort.SetConnected"/>
    internal void SetConnected(ConsolePort port, bool connected)
    {
        lock (Gate)
        {
            port.IsConnected = connected;
            if (port.IsReady && port.HasSentConnected != connected)
            {
                port.Pending |= PortMessages.Open;
                SendControl();
            }
        }
    }

    private void TakeControl(Virtqueue queue)
    {
        queue.DisableNotify();
        int budget = queue.Size;
        Span<byte> message = stackalloc byte[MessageBytes];
        do
        {
            while (queue.TryPop(_buffers, out DescriptorChain chain))
            {
                if (VirtqueueBuffers.CopyFrom(_buffers.AsSpan(0, chain.Readable), message) != MessageBytes)
                {
                    queue.Refuse(ShortMessage);
                    break;
                }

                Take(message);
                if (!CompleteInTurn(queue, chain, 0, ref budget))
                {
                    return;
                }
            }

            queue.Publish();
        }
        while (queue.EnableNotify());
    }

    /// <summary>Handles a message. One for a port that does not exist, or of an unknown event, is ignored.</summary>
    private void Take(ReadOnlySpan<byte> message)
    {
        uint id = BinaryPrimitives.ReadUInt32LittleEndian(message);
        var kind = (Event)BinaryPrimitives.ReadUInt16LittleEndian(message[4..]);
        bool value = BinaryPrimitives.ReadUInt16LittleEndian(message[6..]) != 0;
        if (kind == Event.DeviceReady)
        {
            foreach (ConsolePort? each in _ports)
            {
                each?.Reset();
                if (each is not null && value)
                {
                    each.Pending = PortMessages.Add;
                }
            }

            return;
        }

        if (id >= (uint)_ports.Length || _ports[id] is not { } port)
        {
            return;
        }

        switch (kind)
        {
            case Event.PortReady:
                port.IsReady = value;
                port.Pending = !value ? PortMessages.None
                    : (port.IsConsole ? PortMessages.Console : PortMessages.None)
                        | (port.Name.Length > 0 ? PortMessages.Name : PortMessages.None)
                        | (port.IsConnected ? PortMessages.Open : PortMessages.None)
                        | (port.IsConsole && (_columns, _rows) != (0, 0) ? PortMessages.Resize : PortMessages.None);
                port.Wake();
                break;
            case Event.PortOpen:
                port.IsGuestOpen = value;
                port.Wake();
                break;
        }
    }

    /// <summary>The size changed: for drivers of one port in the configuration space, for others by a message, too.</summary>
    private void SendSize()
    {
        if ((NegotiatedFeatures & SizeFeature) != 0)
        {
            ConfigChanged();
        }

        foreach (ConsolePort? port in _ports)
        {
            if (port is { IsConsole: true, IsReady: true })
            {
                port.Pending |= PortMessages.Resize;
            }
        }
    }

    /// <summary>Sends what is pending, as far as there are buffers.</summary>
    private void SendControl()
    {
        if (!IsMultiport || !TryGetRunning(ControlReceive, out Virtqueue? queue))
        {
            return;
        }

        Span<byte> message = stackalloc byte[MostMessageBytes];
        queue.DisableNotify();
        do
        {
            while (NextPending() is { } port && queue.TryPop(_buffers, out DescriptorChain chain))
            {
                // The lowest bit is sent first.
                var next = (PortMessages)((int)port.Pending & -(int)port.Pending);
                int length = Write(port, next, message);
                if (chain.WritableBytes < (ulong)length)
                {
                    queue.Refuse(NoRoomForMessage);
                    break;
                }

                VirtqueueBuffers.CopyTo(_buffers.AsSpan(chain.Readable, chain.Writable), message[..length]);
                queue.Complete(chain, (uint)length);
                port.Pending &= ~next;
            }

            queue.Publish();
        }
        while (NextPending() is not null && queue.EnableNotify());
    }

    private ConsolePort? NextPending()
    {
        foreach (ConsolePort? port in _ports)
        {
            if (port is not null && port.Pending != PortMessages.None)
            {
                return port;
            }
        }

        return null;
    }

    private int Write(ConsolePort port, PortMessages what, Span<byte> message)
    {
        (Event kind, bool value) = what switch
        {
            PortMessages.Add => (Event.DeviceAdd, true),
            PortMessages.Console => (Event.ConsolePort, true),
            PortMessages.Name => (Event.PortName, true),
            PortMessages.Open => (Event.PortOpen, port.IsConnected),
            _ => (Event.Resize, false),
        };
        BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)port.Number);
        BinaryPrimitives.WriteUInt16LittleEndian(message[4..], (ushort)kind);
        BinaryPrimitives.WriteUInt16LittleEndian(message[6..], (ushort)(value ? 1 : 0));
        switch (kind)
        {
            case Event.PortOpen:
                port.HasSentConnected = value;
                break;
            case Event.PortName:
                return MessageBytes + Encoding.ASCII.GetBytes(port.Name, message[MessageBytes..]);
            case Event.Resize:
                // Columns first, as specified. Linux before 6.15 (and before the same fix in stable kernels) read rows first.
                BinaryPrimitives.WriteUInt16LittleEndian(message[MessageBytes..], _columns);
                BinaryPrimitives.WriteUInt16LittleEndian(message[(MessageBytes + 2)..], _rows);
                return MessageBytes + 4;
        }

        return MessageBytes;
    }
}
