namespace Vmm.Devices.Legacy;

/// <summary>The registers of a serial port, which the guest reads and writes.</summary>
public sealed partial class Serial16550
{
    public void Read(ulong offset, Span<byte> data)
    {
        bool wake;
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + (ulong)i < PortCount; i++)
            {
                data[i] = ReadRegister((int)offset + i);
            }

            wake = Settle();
        }

        if (wake)
        {
            InputSpaceAvailable?.Invoke();
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        bool wake;
        lock (_lock)
        {
            for (int i = 0; i < data.Length && offset + (ulong)i < PortCount; i++)
            {
                WriteRegister((int)offset + i, data[i]);
            }

            wake = Settle();
        }

        if (wake)
        {
            InputSpaceAvailable?.Invoke();
        }
    }

    public int RegisterBank => (_lcr & LcrDivisorAccess) != 0 ? 1 : 0;

    public string? RegisterName(ulong offset, bool write)
    {
        bool divisor = (_lcr & LcrDivisorAccess) != 0;
        return offset switch
        {
            RbrThr => divisor ? "DLL" : write ? "THR" : "RBR",
            Ier => divisor ? "DLM" : "IER",
            IirFcr => write ? "FCR" : "IIR",
            Lcr => "LCR",
            Mcr => "MCR",
            Lsr => "LSR",
            Msr => "MSR",
            Scr => "SCR",
            _ => null,
        };
    }

    private byte ReadRegister(int register)
    {
        bool divisor = (_lcr & LcrDivisorAccess) != 0;
        _polls = register == Lsr ? _polls : 0;
        return register switch
        {
            RbrThr when divisor => _divisorLow,
            RbrThr => ReadReceiverBuffer(),
            Ier when divisor => _divisorHigh,
            Ier => _ier,
            IirFcr => ReadInterruptIdentification(),
            Lcr => _lcr,
            Mcr => _mcr,
            Lsr => ReadLineStatus(),
            Msr => ReadModemStatus(),
            _ => _scr,
        };
    }

    private void WriteRegister(int register, byte value)
    {
        bool divisor = (_lcr & LcrDivisorAccess) != 0;
        _polls = 0;
        _polled &= register is not (Ier or IirFcr or Lcr or Mcr);    // a driver that is still setting the port up does not poll for input
        switch (register)
        {
            case RbrThr when divisor:
                _divisorLow = value;
                break;
            case RbrThr:
                WriteTransmitter(value);
                break;
            case Ier when divisor:
                _divisorHigh = value;
                break;
            case Ier:
                bool turnedOn = (value & ~_ier & IerTransmitterEmpty) != 0;
                _transmitterEmptied |= turnedOn && _transmitter.IsEmpty;
                _ier = (byte)(value & 0x0f);
                break;
            case IirFcr:
                WriteFifoControl(value);
                break;
            case Lcr:
                _lcr = value;
                break;
            case Mcr:
                byte before = ModemLines;
                _mcr = (byte)(value & McrMask);
                NoteModemChange(before, ModemLines);
                break;
            case Scr:
                _scr = value;
                break;
            default:                                        // LSR and MSR are for reading
                break;
        }
    }

    private byte ReadReceiverBuffer()
    {
        if (!DataReady)
        {
            return 0;
        }

        byte value = (byte)_received.Take();
        LatchErrors();
        return value;
    }

    private byte ReadInterruptIdentification()
    {
        byte cause = PendingInterrupt();
        if (cause == IirTransmitterEmpty)
        {
            _transmitterEmptied = false;                    // the one cause that reading IIR clears
        }

        return (byte)(cause | (FifosEnabled ? IirFifosEnabled : 0));
    }

    private byte ReadLineStatus()
    {
        int status = _lineErrors | (DataReady ? LsrDataReady : 0) | (_transmitter.IsEmpty ? LsrIdle : 0);
        if (FifosEnabled && ((_lineErrors & LsrBreak) != 0 || _received.HasBreak))
        {
            status |= LsrFifoError;
        }

        _lineErrors = 0;
        if ((status & (LsrDataReady | LsrIdle)) != LsrIdle)
        {
            _polls = 0;
        }
        else if (++_polls >= PollsThatMeanListening)
        {
            _polls = 0;
            _polled = true;
        }

        return (byte)status;
    }

    private byte ReadModemStatus()
    {
        byte status = (byte)(ModemLines | _modemDeltas);
        _modemDeltas = 0;
        return status;
    }

    private void WriteTransmitter(byte value)
    {
        if (Loop)
        {
            _transmitterEmptied |= _transmitter.IsEmpty;
            if (FifoRoom > 0)
            {
                Arrive((ushort)(value | ReceiveFifo.Looped));
            }
            else
            {
                _lineErrors |= LsrOverrun;
            }

            return;
        }

        _transmitter.Send(value);
        _transmitterEmptied = _transmitter.IsEmpty;
    }

    private void WriteFifoControl(byte value)
    {
        bool switched = ((value ^ _fcr) & FcrEnable) != 0;  // which resets both FIFOs, too
        bool enable = (value & FcrEnable) != 0;             // the other bits count only with this one
        _fcr = enable ? (byte)(value & 0xc1) : (byte)0;
        if (switched || (enable && (value & FcrResetReceiver) != 0))
        {
            _lineErrors = 0;
            _received.ReturnTo(_wire);
        }
    }
}
