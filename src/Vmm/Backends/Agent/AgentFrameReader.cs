namespace Vmm.Backends.Agent;

/// <summary>Takes frames out of a stream of bytes that a guest sends. Nothing is allocated after the start, and nothing is
/// kept but what did not make a whole frame yet.</summary>
/// <param name="isSerial">On a serial line anybody in the guest may write: what begins no frame is skipped, and contents
/// have a check of their own. Elsewhere it ends the connection.</param>
internal sealed class AgentFrameReader(bool isSerial)
{
    private const int MostFrame = AgentFrame.HeaderLength + AgentProtocol.MostContent;

    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(4 * MostFrame, pinned: true);
    private int _start;
    private int _end;
    private ushort _next;

    /// <summary>Bytes that began no frame, so far.</summary>
    public long Skipped { get; private set; }

    /// <summary>Why nothing more can be taken; null while all is well.</summary>
    public string? Fault { get; private set; }

    /// <summary>Room for more bytes, never none unless there is a fault; <see cref="Added"/> says how many came.</summary>
    public Span<byte> Room
    {
        get
        {
            if (_start > 0 && _buffer.Length - _end < MostFrame)
            {
                _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
                (_start, _end) = (0, _end - _start);
            }

            return _buffer.AsSpan(_end);
        }
    }

    public void Added(int bytes) => _end += bytes;

    /// <summary>The next whole frame.</summary>
    /// <param name="content">Valid until <see cref="Room"/> is asked for.</param>
    /// <returns>False where there is none yet, or never will be.</returns>
    public bool TryTake(out AgentFrame frame, out ReadOnlySpan<byte> content)
    {
        content = default;
        frame = default;
        while (Fault is null && _end - _start >= AgentFrame.HeaderLength)
        {
            if (!AgentFrame.TryRead(_buffer.AsSpan(_start), out frame))
            {
                Skip();
                continue;
            }

            if (_end - _start < AgentFrame.HeaderLength + frame.Length)
            {
                return false;
            }

            content = _buffer.AsSpan(_start + AgentFrame.HeaderLength, frame.Length);
            _start += AgentFrame.HeaderLength + frame.Length;
            if (frame.Sequence != _next || (isSerial && frame.Content != AgentFrame.Crc(content)))
            {
                Fault = "bytes were lost on the way from the guest";
                return false;
            }

            _next++;
            return true;
        }

        return false;
    }

    private void Skip()
    {
        Skipped++;
        _start++;
        if (!isSerial)
        {
            Fault = "what came over the agent's socket is not its protocol";
        }
    }
}
