using System.Buffers.Binary;
using Vmm.Host;

namespace Vmm.Backends.Agent;

/// <summary>How a process of the guest ended, and what it used.</summary>
/// <param name="How">By itself or not.</param>
/// <param name="Value">Exit code, signal or errno.</param>
/// <param name="User">Processor time in the program.</param>
/// <param name="System">Processor time in the guest's kernel.</param>
/// <param name="MostResident">KiB.</param>
internal readonly record struct AgentExit(AgentEnding How, uint Value, TimeSpan User, TimeSpan System, ulong MostResident);

/// <summary>Gets the events of a process in the guest. On the event loop's thread.</summary>
internal interface IAgentProcessOwner
{
    /// <summary>It has started.</summary>
    void Started(AgentProcess process);

    /// <summary>It wrote. The owner can buffer <see cref="AgentProtocol.OutputWindow"/> bytes of each stream, and calls <see
    /// cref="AgentProcess.Consumed"/> when it has processed some.</summary>
    /// <param name="isError">Standard error, else standard output.</param>
    void Wrote(AgentProcess process, bool isError, ReadOnlySpan<byte> bytes);

    /// <summary>It has read input: <see cref="AgentProcess.InputCredit"/> has grown.</summary>
    void WantsInput(AgentProcess process);

    /// <summary>It has closed its input.</summary>
    void ClosedInput(AgentProcess process);

    /// <summary>It has ended; all its output came before this.</summary>
    void Ended(AgentProcess process, in AgentExit exit);
}

/// <summary>A process in the guest, as the host sees it: counts the bytes in flight of each stream, so that neither a flood
/// from the guest nor a slow reader needs more memory than a window.</summary>
/// <param name="inputWindow">Bytes of input that may be in flight.</param>
/// <param name="isAdopted">It runs already, and takes no more input: another vmm started it, in the machine that this one was forked
/// from.</param>
internal sealed class AgentProcess(AgentLink link, uint id, IAgentProcessOwner owner, uint inputWindow, bool isAdopted = false) : IInputSink
{
    private const int ExitLength = 32;

    private readonly uint _inputWindow = inputWindow;
    private uint _outputRoom = AgentProtocol.OutputWindow;
    private uint _errorRoom = AgentProtocol.OutputWindow;
    private uint _outputConsumed, _errorConsumed;

    public uint Id { get; } = id;

    /// <summary>Its number in the guest; 0 before it runs.</summary>
    public uint GuestPid { get; private set; }

    /// <inheritdoc/>
    public uint InputCredit { get; private set; } = isAdopted ? 0 : inputWindow;

    public bool HasEnded { get; private set; }

    /// <inheritdoc/>
    public Span<byte> ReserveInput() => link.Reserve((int)Math.Min(InputCredit, AgentProtocol.MostContent));

    /// <inheritdoc/>
    public void PutInput(int length)
    {
        if (HasEnded)
        {
            return;
        }

        link.Put(AgentFrameType.Input, Id, length);
        InputCredit -= (uint)length;
        link.Flush();
    }

    /// <summary>So many bytes of a stream were processed: gives the guest new credit.</summary>
    public void Consumed(bool isError, int bytes)
    {
        ref uint consumed = ref isError ? ref _errorConsumed : ref _outputConsumed;
        ref uint room = ref isError ? ref _errorRoom : ref _outputRoom;
        consumed += (uint)bytes;
        if (consumed >= AgentProtocol.OutputWindow / 4 && !HasEnded)
        {
            link.Send(isError ? AgentFrameType.ErrorCredit : AgentFrameType.OutputCredit, Id, consumed);
            link.Flush();
            room += consumed;
            consumed = 0;
        }
    }

    /// <summary>A stream has no reader any more: the process gets SIGPIPE when it writes to it.</summary>
    public void Abandon(bool isError)
    {
        if (!HasEnded)
        {
            link.Send(isError ? AgentFrameType.ErrorClosed : AgentFrameType.OutputClosed, Id, []);
            link.Flush();
        }
    }

    /// <summary>Sends a signal to its process group.</summary>
    /// <param name="number">As in Linux on x86.</param>
    public void Signal(int number)
    {
        if (!HasEnded)
        {
            link.Send(AgentFrameType.Signal, Id, (uint)number);
            link.Flush();
        }
    }

    /// <summary>Sets the size of its terminal.</summary>
    public void Resize(ushort rows, ushort columns)
    {
        Span<byte> size = stackalloc byte[4];
        BinaryPrimitives.WriteUInt16LittleEndian(size, rows);
        BinaryPrimitives.WriteUInt16LittleEndian(size[2..], columns);
        if (!HasEnded)
        {
            link.Send(AgentFrameType.Window, Id, size);
            link.Flush();
        }
    }

    /// <summary>Its machine went back to where it was saved: nothing comes of it any more, and nothing goes to it.</summary>
    public void Lose() => (HasEnded, InputCredit) = (true, 0);

    /// <summary>A frame about it.</summary>
    /// <returns>False where it breaks the protocol.</returns>
    public bool Take(AgentFrameType type, ReadOnlySpan<byte> content)
    {
        switch (type)
        {
            case AgentFrameType.Started when content.Length == sizeof(uint) && GuestPid == 0:
                GuestPid = BinaryPrimitives.ReadUInt32LittleEndian(content);
                owner.Started(this);
                return GuestPid != 0;
            case AgentFrameType.Output:
                return TakeOutput(content, isError: false, ref _outputRoom);
            case AgentFrameType.Error:
                return TakeOutput(content, isError: true, ref _errorRoom);
            case AgentFrameType.InputCredit when content.Length == sizeof(uint):
                uint credit = BinaryPrimitives.ReadUInt32LittleEndian(content);
                if (credit > _inputWindow - InputCredit)
                {
                    return false;       // more credit than the whole window
                }

                InputCredit += credit;
                owner.WantsInput(this);
                return true;
            case AgentFrameType.InputClosed:
                owner.ClosedInput(this);
                return true;
            case AgentFrameType.Exited when content.Length == ExitLength && ReadExit(content) is { How: < AgentEnding.Rewound } exit:
                HasEnded = true;
                owner.Ended(this, exit);
                return true;
            default:
                return false;
        }
    }

    /// <summary>Tells its owner that it was lost.</summary>
    public void TellLost() => owner.Ended(this, new AgentExit(AgentEnding.Rewound, 0, default, default, 0));

    private bool TakeOutput(ReadOnlySpan<byte> content, bool isError, ref uint room)
    {
        if ((uint)content.Length > room || GuestPid == 0)
        {
            return false;
        }

        room -= (uint)content.Length;
        if (!content.IsEmpty)
        {
            owner.Wrote(this, isError, content);
        }

        return true;
    }

    private static AgentExit ReadExit(ReadOnlySpan<byte> content) => new(
        (AgentEnding)BinaryPrimitives.ReadUInt32LittleEndian(content),
        BinaryPrimitives.ReadUInt32LittleEndian(content[4..]),
        Microseconds(BinaryPrimitives.ReadUInt64LittleEndian(content[8..])),
        Microseconds(BinaryPrimitives.ReadUInt64LittleEndian(content[16..])),
        BinaryPrimitives.ReadUInt64LittleEndian(content[24..]));

    /// <summary>Not more than a year, whatever the guest sends.</summary>
    private static TimeSpan Microseconds(ulong value) =>
        TimeSpan.FromMicroseconds((double)Math.Min(value, 365UL * 24 * 3600 * 1_000_000));
}

/// <summary>Takes input for a program in the guest, as far as there is room. On the event loop's thread.</summary>
internal interface IInputSink
{
    /// <summary>Bytes of input that it has room for.</summary>
    uint InputCredit { get; }

    /// <summary>Room for its input, of which <see cref="PutInput"/> sends a part.</summary>
    Span<byte> ReserveInput();

    /// <param name="length">Bytes that were written to the room; 0 is the end of the input.</param>
    void PutInput(int length);
}
