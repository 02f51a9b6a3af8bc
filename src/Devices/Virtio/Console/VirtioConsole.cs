using System.Buffers.Binary;
using Vmm.Devices.State;

namespace Vmm.Devices.Virtio.Console;

/// <summary>A console and named ports (virtio 1.2, section 5.3), each a stream of bytes both ways.</summary>
/// <remarks>Nothing is buffered here: what the output does not take stays in the guest's queue, and input without a guest
/// buffer stays with the host. VIRTIO_CONSOLE_F_EMERG_WRITE is not offered: there is a serial port for that.</remarks>
public sealed partial class VirtioConsole : VirtioDevice
{
    /// <summary>Ports at most, the console's included.</summary>
    public const int MostPorts = 31;

    private const uint DeviceIdConsole = 3;
    private const ushort QueueLength = 64;
    private const int ConfigBytes = 12;
    private const int BytesPerTurn = 64 * 1024;
    private const int ChunkBytes = 1024;        // ISerialOutput takes as much at once
    private const ulong SizeFeature = 1 << 0;           // VIRTIO_CONSOLE_F_SIZE
    private const ulong MultiportFeature = 1 << 1;      // VIRTIO_CONSOLE_F_MULTIPORT
    private const string NothingToSend = "a buffer to send holds nothing";
    private const string NoRoom = "a buffer to receive into has no room";

    private readonly ConsolePort?[] _ports;
    private readonly IoVector[] _buffers = new IoVector[QueueLength];
    private ushort _columns;
    private ushort _rows;

    /// <param name="name">The name in messages and statistics: <c>virtio-console0</c>.</param>
    /// <param name="ports">Port 0 is the console, null where there is none: drivers without VIRTIO_CONSOLE_F_MULTIPORT know
    /// only that one. The others are never null.</param>
    public VirtioConsole(string name, params ReadOnlySpan<ConsolePort?> ports)
        : base(name, DeviceIdConsole, SizeFeature | MultiportFeature, Sizes(ports.Length))
    {
        _ports = ports.ToArray();
        for (int i = 0; i < _ports.Length; i++)
        {
            _ports[i]?.Attach(this, i);
        }
    }

    /// <inheritdoc/>
    public override int ConfigLength => ConfigBytes;

    private bool IsMultiport => (NegotiatedFeatures & MultiportFeature) != 0;

    /// <summary>The terminal behind the console has this size; 0 where it is not known. Any thread.</summary>
    public void SetSize(ushort columns, ushort rows)
    {
        lock (Gate)
        {
            if ((columns, rows) == (_columns, _rows))
            {
                return;
            }

            (_columns, _rows) = (columns, rows);
            SendSize();
            SendControl();
        }
    }

    /// <inheritdoc/>
    protected internal override void ReadConfig(int offset, Span<byte> data)
    {
        Span<byte> config = stackalloc byte[ConfigBytes];
        config.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(config, _columns);
        BinaryPrimitives.WriteUInt16LittleEndian(config[2..], _rows);
        BinaryPrimitives.WriteUInt32LittleEndian(config[4..], (uint)_ports.Length);     // max_nr_ports
        config.Slice(offset, data.Length).CopyTo(data);
    }

    /// <inheritdoc/>
    protected internal override void Reset()
    {
        foreach (ConsolePort? port in _ports)
        {
            port?.Reset();
        }
    }

    /// <inheritdoc/>
    protected internal override void StopQueue(Virtqueue queue)
    {
        if (PortOf(queue.Index) is { } port && IsTransmit(queue.Index))
        {
            port.Sent = 0;
        }
    }

    /// <inheritdoc/>
    protected internal override void Save(StateWriter state)
    {
        base.Save(state);
        state.Write("columns", (uint)_columns);
        state.Write("rows", (uint)_rows);
        state.Write("ports", _ports.Where(static port => port is not null), static (fields, port) =>
        {
            fields.Write("name", port!.Name);
            fields.Write("ready", port.IsReady);
            fields.Write("open", port.IsGuestOpen);
            fields.Write("connected", port.HasSentConnected);
            fields.Write("pending", (uint)port.Pending);
            fields.Write("sent", port.Sent);
        });
    }

    /// <inheritdoc/>
    protected internal override void Load(StateReader state)
    {
        base.Load(state);
        (ushort Columns, ushort Rows) told = (state.UInt16("columns"), state.UInt16("rows"));
        int count = _ports.Count(static port => port is not null);
        StateReader[] states = state.List("ports", count, count);
        int at = 0;
        foreach (ConsolePort port in _ports.OfType<ConsolePort>())
        {
            StateReader fields = states[at++];
            if (fields.String("name", ConsolePort.MostNameBytes) != port.Name)
            {
                throw fields.Refuse("name", $"is not '{port.Name}', as this machine's port is called");
            }

            port.IsReady = fields.Boolean("ready");
            port.IsGuestOpen = fields.Boolean("open");
            port.HasSentConnected = fields.Boolean("connected");
            port.Pending = (PortMessages)fields.Bits("pending", (uint)PortMessages.All);
            port.Sent = fields.UInt64("sent");
            fields.End();

            // Which ports are connected, and the terminal's size, come from this host and not from the saved state.
            if (port.IsReady && port.HasSentConnected != port.IsConnected)
            {
                port.Pending |= PortMessages.Open;
            }
        }

        if (told != (_columns, _rows))
        {
            SendSize();
        }
    }

    /// <inheritdoc/>
    protected override void ProcessQueue(Virtqueue queue)
    {
        if (queue.Index is ControlReceive or ControlTransmit)
        {
            if (queue.Index == ControlTransmit && IsMultiport)
            {
                TakeControl(queue);
            }

            SendControl();
        }
        else if (IsTransmit(queue.Index))
        {
            Transmit(queue, PortOf(queue.Index));
        }
        else
        {
            queue.DisableNotify();
            PortOf(queue.Index)?.Wake();
        }
    }

    /// <inheritdoc cref="ConsolePort.Receive"/>
    internal int Receive(ConsolePort port, ReadOnlySpan<byte> bytes)
    {
        lock (Gate)
        {
            int done = 0;
            if (MayReceive(port) && TryGetRunning(ReceiveQueueOf(port), out Virtqueue? queue))
            {
                do
                {
                    while (done < bytes.Length && queue.TryPop(_buffers, out DescriptorChain chain))
                    {
                        if (chain.WritableBytes == 0)
                        {
                            queue.Refuse(NoRoom);
                            break;
                        }

                        int count = VirtqueueBuffers.CopyTo(_buffers.AsSpan(chain.Readable, chain.Writable), bytes[done..]);
                        queue.Complete(chain, (uint)count);
                        done += count;
                    }

                    queue.Publish();
                }
                while (done < bytes.Length && queue.EnableNotify());
            }

            port.IsShort = done < bytes.Length;
            return done;
        }
    }

    internal void OutputDrained(ConsolePort port)
    {
        lock (Gate)
        {
            if (port.IsOutputFull)
            {
                port.IsOutputFull = false;
                if (TryGetRunning(ReceiveQueueOf(port) + 1, out Virtqueue? queue))
                {
                    KickLater(queue);
                }
            }
        }
    }

    private static ushort[] Sizes(int ports)
    {
        if (ports is 0 or > MostPorts)
        {
            throw new ArgumentException($"a console has 1 to {MostPorts} ports");
        }

        ushort[] sizes = new ushort[(ports + 1) * 2];
        Array.Fill(sizes, QueueLength);
        return sizes;
    }

    // Section 5.3.2: receive and transmit of port 0, the same of control, then of the ports from 1 on.
    private static bool IsTransmit(int queue) => (queue & 1) != 0;

    private static int ReceiveQueueOf(ConsolePort port) => port.Number == 0 ? 0 : (port.Number + 1) * 2;

    private ConsolePort? PortOf(int queue) => queue < ControlReceive ? _ports[0]
        : queue > ControlTransmit && IsMultiport ? _ports[(queue / 2) - 1]
        : null;

    /// <summary>Linux throws away what comes to a port that no program has open, unless it is a console.</summary>
    private bool MayReceive(ConsolePort port) => IsMultiport ? port.IsReady && (port.IsConsole || port.IsGuestOpen) : port.Number == 0;

    private void Transmit(Virtqueue queue, ConsolePort? port)
    {
        queue.DisableNotify();
        int requests = queue.Size, bytes = BytesPerTurn;
        do
        {
            while (queue.TryPop(_buffers, out DescriptorChain chain))
            {
                if (chain.ReadableBytes == 0)
                {
                    queue.Refuse(NothingToSend);
                    break;
                }

                if (port is not null && !TrySend(port, chain, ref bytes))
                {
                    queue.ReturnToQueue(chain);
                    queue.Publish();
                    if (!port.IsOutputFull)
                    {
                        KickLater(queue);
                    }

                    return;
                }

                if (!CompleteInTurn(queue, chain, 0, ref requests))
                {
                    return;
                }
            }

            queue.Publish();
        }
        while (queue.EnableNotify());
    }

    /// <summary>Sends a buffer, from where it was left.</summary>
    /// <param name="left">Bytes that may be sent in this turn.</param>
    /// <returns>False when not all of it was sent, because the output is full or other queues are to be served.</returns>
    private bool TrySend(ConsolePort port, in DescriptorChain chain, ref int left)
    {
        Span<byte> chunk = stackalloc byte[ChunkBytes];
        Span<IoVector> rest = _buffers.AsSpan(0, chain.Readable);
        ulong sent = Math.Min(port.Sent, chain.ReadableBytes);      // the guest may have made the buffer shorter
        rest = rest[VirtqueueBuffers.Skip(rest, sent)..];
        while (sent < chain.ReadableBytes)
        {
            int count = VirtqueueBuffers.CopyFrom(rest, chunk);
            int taken = port.Write(chunk[..count]);
            sent += (ulong)taken;
            left -= taken;
            port.IsOutputFull = taken < count;
            if (port.IsOutputFull || (left <= 0 && sent < chain.ReadableBytes))
            {
                port.Sent = sent;
                return false;
            }

            rest = rest[VirtqueueBuffers.Skip(rest, (ulong)taken)..];
        }

        port.Sent = 0;
        return true;
    }
}
