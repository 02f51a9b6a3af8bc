using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>A 16550A serial port: eight registers, two FIFOs of 16 bytes, one interrupt line.</summary>
/// <remarks>
/// After the National Semiconductor PC16550D data sheet. Three things differ from the chip, so that no byte is lost:
/// <list type="bullet">
/// <item>Transmission takes no time: a byte is sent as soon as it is written, and what the chip would report
/// after four idle character times (character timeout) is reported at once.</item>
/// <item>Bytes for the guest wait on the host until the guest receives: it has the received-data interrupt on, or polls LSR.
/// While a driver probes and resets the port, no byte arrives that it would throw away.</item>
/// <item>Resetting a FIFO (FCR) throws away nothing that came from or goes to the outside.</item>
/// </list>
/// OUT2 does not gate the interrupt, as small guests forget to set it. Safe to use from any thread.
/// </remarks>
public sealed partial class Serial16550 : ISerialInput, IBusDevice, IBankedRegisters, ISavedState
{
    /// <summary>COM1 is at this port.</summary>
    public const ushort Com1Port = 0x3f8;

    /// <summary>COM1 interrupts here.</summary>
    public const int Com1Irq = 4;

    /// <summary>COM2 is at this port.</summary>
    public const ushort Com2Port = 0x2f8;

    /// <summary>COM2 interrupts here.</summary>
    public const int Com2Irq = 3;

    /// <summary>Ports that it answers to.</summary>
    public const int PortCount = 8;

    // Registers by offset; where two share one, DLAB or the direction decides.
    private const int RbrThr = 0, Ier = 1, IirFcr = 2, Lcr = 3, Mcr = 4, Lsr = 5, Msr = 6, Scr = 7;

    // IER and what waits.            IIR: 7 6 FIFOs on | 3..0 cause, by priority
    private const byte IerReceived = 0x01, IerTransmitterEmpty = 0x02, IerLineStatus = 0x04, IerModemStatus = 0x08;
    private const byte IirNone = 0x01, IirLineStatus = 0x06, IirReceived = 0x04, IirTimeout = 0x0c;
    private const byte IirTransmitterEmpty = 0x02, IirModemStatus = 0x00, IirFifosEnabled = 0xc0;
    private const byte FcrEnable = 0x01, FcrResetReceiver = 0x02;
    private const byte LcrDivisorAccess = 0x80;
    private const byte McrLoop = 0x10, McrMask = 0x1f;
    private const byte LsrDataReady = 0x01, LsrOverrun = 0x02, LsrBreak = 0x10, LsrIdle = 0x60, LsrFifoError = 0x80;
    private const byte MsrTrailingRing = 0x04, MsrRing = 0x40;
    private const byte CarrierReadyClear = 0xb0;    // DCD, DSR and CTS set, RI clear: as with a connected peer

    private const int FifoDepth = 16;

    /// <summary>So many reads of LSR in a row that find the transmitter idle and nothing received mean that the
    /// guest polls for input. A wait for the transmitter ends at its first.</summary>
    private const int PollsThatMeanListening = 8;

    private static readonly byte[] TriggerLevels = [1, 4, 8, 14];

    private readonly Lock _lock = new();
    private readonly IInterruptLine _interrupt;

    private readonly ReceiveFifo _received = new();
    private readonly ReceiveFifo _wire = new();             // taken from the sender, kept back by a FIFO reset
    private readonly SerialTransmitter _transmitter;

    private byte _ier, _fcr, _lcr, _mcr, _scr, _lineErrors, _modemDeltas;
    private byte _divisorLow = 12, _divisorHigh;            // 9600 baud
    private bool _transmitterEmptied;                       // the THRE interrupt, until IIR shows it or THR is written
    private bool _polled, _senderWaits;
    private int _polls;

    /// <param name="name">The name in messages and statistics: <c>COM1</c>.</param>
    /// <param name="output">Where the guest's bytes go.</param>
    /// <param name="interrupt">Held up while an interrupt is pending.</param>
    public Serial16550(string name, ISerialOutput output, IInterruptLine interrupt)
    {
        Name = name;
        _transmitter = new SerialTransmitter(output);
        _interrupt = interrupt;
    }

    public string Name { get; }

    /// <summary>Raised when the port took fewer bytes than <see cref="Receive"/> or <see cref="ReceiveBreak"/> was
    /// given and now takes more. Comes on a vCPU thread, outside the port's lock: wake the event loop, no more.</summary>
    public event Action? InputSpaceAvailable;

    /// <summary>Bytes that were lost because the guest wrote them while the transmitter was full.</summary>
    public long OutputLost => _transmitter.Lost;

    private bool FifosEnabled => (_fcr & FcrEnable) != 0;
    private bool Loop => (_mcr & McrLoop) != 0;
    private bool DataReady => _received.Count > 0;
    private int FifoRoom => Math.Max(0, (FifosEnabled ? FifoDepth : 1) - _received.Count);
    private int Room => Listening ? Math.Max(0, FifoRoom - _wire.Count) : 0;
    private bool Listening => !Loop && (_polled || (_ier & IerReceived) != 0);
    private int TriggerLevel => FifosEnabled ? TriggerLevels[_fcr >> 6] : 1;
    private byte ModemLines => Loop ? LoopedModemLines(_mcr) : CarrierReadyClear;

    /// <summary>Bytes for the guest: takes as many as there is room for now, 0 while the guest is not listening.
    /// The caller keeps the rest until <see cref="InputSpaceAvailable"/>.</summary>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            int taken = Math.Min(Room, bytes.Length);
            for (int i = 0; i < taken; i++)
            {
                Arrive(bytes[i]);
            }

            _senderWaits |= taken < bytes.Length;
            UpdateInterrupt();
            return taken;
        }
    }

    /// <summary>A break on the line (Linux: the next byte is a SysRq). False when the FIFO was full.</summary>
    public bool ReceiveBreak()
    {
        lock (_lock)
        {
            bool room = Room > 0;
            if (room)
            {
                Arrive(ReceiveFifo.Break);
            }

            _senderWaits |= !room;
            UpdateInterrupt();
            return room;
        }
    }

    /// <summary>The output takes bytes again: sends the pending ones, and tells the guest that the transmitter is empty once all
    /// are sent.</summary>
    public void OutputDrained()
    {
        lock (_lock)
        {
            bool waited = !_transmitter.IsEmpty;
            _transmitter.Drain();
            _transmitterEmptied |= waited && _transmitter.IsEmpty;
            UpdateInterrupt();
        }
    }

    private void Arrive(ushort entry)
    {
        bool first = _received.Count == 0;
        _received.Put(entry);
        if (first)
        {
            LatchErrors();
        }
    }

    /// <summary>A break shows in LSR when its byte becomes the next one to read.</summary>
    private void LatchErrors() => _lineErrors |= _received.NextIsBreak ? LsrBreak : (byte)0;

    private void NoteModemChange(byte before, byte after)
    {
        int changed = before ^ after;
        _modemDeltas |= (byte)((changed >> 4) & 0x0b);      // DCTS, DDSR, DDCD: any change
        _modemDeltas |= (changed & before & MsrRing) != 0 ? MsrTrailingRing : (byte)0;
    }

    private static byte LoopedModemLines(byte mcr) =>       // RTS -> CTS, DTR -> DSR, OUT1 -> RI, OUT2 -> DCD
        (byte)(((mcr & 0x02) << 3) | ((mcr & 0x01) << 5) | ((mcr & 0x0c) << 4));

    private byte PendingInterrupt()
    {
        if ((_ier & IerLineStatus) != 0 && _lineErrors != 0)
        {
            return IirLineStatus;
        }

        if ((_ier & IerReceived) != 0 && DataReady)
        {
            return _received.Count >= TriggerLevel ? IirReceived : IirTimeout;
        }

        if ((_ier & IerTransmitterEmpty) != 0 && _transmitterEmptied)
        {
            return IirTransmitterEmpty;
        }

        return (_ier & IerModemStatus) != 0 && _modemDeltas != 0 ? IirModemStatus : IirNone;
    }

    private void UpdateInterrupt() => _interrupt.SetLevel(PendingInterrupt() != IirNone);

    /// <summary>After each access: what waits on the wire comes in, the interrupt follows. True when the sender is to
    /// be woken, once all is read: refilling 16 at a time costs one interrupt, one at a time sixteen.</summary>
    private bool Settle()
    {
        while (_wire.Count > 0 && Listening && FifoRoom > 0)
        {
            Arrive(_wire.Take());
        }

        UpdateInterrupt();
        bool wake = _senderWaits && _received.Count == 0 && Room > 0;
        _senderWaits &= !wake;
        return wake;
    }
}
