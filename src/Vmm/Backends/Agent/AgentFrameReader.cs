using Vmm.Host;

namespace Vmm.Backends.Agent;

/// <summary>Takes frames out of a stream of bytes that a guest sends. Nothing is allocated after the start, and only the bytes
/// of an incomplete frame are kept.</summary>
/// <param name="isSerial">On a serial line any program of the guest may write: bytes that begin no frame are skipped, and
/// contents have their own checksum. On vsock such bytes end the connection.</param>
internal sealed class AgentFrameReader(bool isSerial)
{
    private const int MostFrame = AgentFrame.HeaderLength + AgentProtocol.MostContent;

    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(4 * MostFrame, pinned: true);
    private int _start;
    private int _end;
    private ushort _next;

    /// <summary>Bytes that began no frame, so far.</summary>
    public long Skipped { get; private set; }

    /// <summary>The error after which no more frames can be read; null while there is none.</summary>
    public string? Fault { get; private set; }

    /// <summary>Space to receive more bytes into, empty only after a fault; call <see cref="Added"/> with how many came.</summary>
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
    /// <returns>False where there is none yet, or there was a fault.</returns>
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
            if (frame.Sequence != _next || (isSerial && frame.Content != Crc32C.Of(content)))
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
            Fault = "the data on the agent's socket is not its protocol";
        }
    }
}
