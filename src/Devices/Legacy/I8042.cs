using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>The keyboard controller at ports 0x60 and 0x64, with nothing plugged in: it resets the machine and
/// answers a driver's questions at once, so that none waits for a timeout.</summary>
/// <remarks>After the Intel 8042 as in the IBM PC/AT Technical Reference, section 1. Registered twice, once per port:
/// <see cref="DataPort"/> and <see cref="CommandPort"/> are not neighbours.</remarks>
public sealed class I8042(IPowerControl power) : ISavedState
{
    public const ushort DataPortNumber = 0x60, CommandPortNumber = 0x64;

    private const byte ReadCommandByte = 0x20, WriteCommandByte = 0x60, TestAux = 0xa9, SelfTest = 0xaa,
        TestKeyboard = 0xab, ReadOutputPort = 0xd0, WriteOutputPort = 0xd1;

    // Status register:  1 input buffer full (never: all is taken at once) | 2 self-test passed | 6 timeout
    private const byte OutputFull = 0x01, SystemFlag = 0x04, CommandWritten = 0x08, KeyboardEnabled = 0x10,
        Timeout = 0x40;
    private const byte ResetLine = 0x01;                    // in the output port, and a pulse of it; active low
    private const byte Resend = 0xfe;

    private readonly Lock _lock = new();
    private byte _commandByte = 0x74;                       // translation, both ports disabled, system flag
    private byte _command, _output, _status = SystemFlag | KeyboardEnabled;

    /// <summary>Port 0x60.</summary>
    public IBusDevice DataPort => field ??= new Port(this, isData: true);

    /// <summary>Port 0x64.</summary>
    public IBusDevice CommandPort => field ??= new Port(this, isData: false);

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        lock (_lock)
        {
            state.Version(1);
            state.Write("commandByte", (uint)_commandByte);
            state.Write("command", (uint)_command);
            state.Write("output", (uint)_output);
            state.Write("status", (uint)_status);
        }
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        lock (_lock)
        {
            state.Version(1);
            _commandByte = state.UInt8("commandByte");
            _command = state.UInt8("command");
            _output = state.UInt8("output");
            _status = (byte)state.Bits("status", OutputFull | SystemFlag | CommandWritten | KeyboardEnabled | Timeout);
        }
    }

    private byte ReadData()
    {
        lock (_lock)
        {
            _status &= unchecked((byte)~(OutputFull | Timeout));
            return _output;
        }
    }

    private byte ReadStatus()
    {
        lock (_lock)
        {
            return _status;
        }
    }

    private void WriteCommand(byte command)
    {
        lock (_lock)
        {
            _command = command;
            _status |= CommandWritten;
            switch (command)
            {
                case ReadCommandByte:
                    Answer(_commandByte);
                    break;
                case SelfTest:
                    Answer(0x55);                           // passed
                    break;
                case TestKeyboard:
                    Answer(0x00);                           // the lines are free
                    break;
                case TestAux:
                    Answer(0x01);                           // clock line stuck: there is no such port
                    break;
                case ReadOutputPort:
                    Answer(0x03);                           // A20 on, not in reset
                    break;
            }
        }

        if (command >= 0xf0 && (command & ResetLine) == 0)  // pulses the lines whose bits are clear
        {
            power.RequestReset();
        }
    }

    private void WriteData(byte value)
    {
        bool reset;
        lock (_lock)
        {
            reset = _command == WriteOutputPort && (value & ResetLine) == 0;
            switch (_command)
            {
                case WriteCommandByte:
                    _commandByte = value;
                    break;
                case WriteOutputPort:
                    break;
                default:                                    // to the keyboard, which is not there, or to the aux port;
                    Answer(Resend, Timeout);                // not from that, so that a driver sees it has none
                    break;
            }

            _command = 0;
            _status &= unchecked((byte)~CommandWritten);
        }

        if (reset)
        {
            power.RequestReset();
        }
    }

    private void Answer(byte value, byte flags = 0)
    {
        _output = value;
        _status = (byte)((_status & ~Timeout) | OutputFull | flags);
    }

    private sealed class Port(I8042 controller, bool isData) : IBusDevice
    {
        public string Name => "i8042";

        public void Read(ulong offset, Span<byte> data)
        {
            if (offset == 0 && !data.IsEmpty)
            {
                data[0] = isData ? controller.ReadData() : controller.ReadStatus();
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (offset != 0 || data.IsEmpty)
            {
                return;
            }

            if (isData)
            {
                controller.WriteData(data[0]);
            }
            else
            {
                controller.WriteCommand(data[0]);
            }
        }

        public string? RegisterName(ulong offset, bool write) =>
            offset != 0 ? null : isData ? "Data" : write ? "Command" : "Status";
    }
}
