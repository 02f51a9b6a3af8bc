using System.Runtime.InteropServices;
using Vmm.Host;

namespace Vmm.Named.Logs;

/// <summary>One of the two streams of a <see cref="LogWriter"/>, cut into lines. On its thread.</summary>
internal sealed unsafe class LogStream(LogWriter log, bool isError, FileDescriptor pipe) : IDisposable
{
    /// <summary>Bytes of a line's part; a longer line is in several.</summary>
    private const int MostText = 8 << 10;

    private byte[]? _buffer;
    private int _count;
    private DateTime _began;

    public int Number => pipe.Number;

    // Room for the front, the text and the line feed; made for the first line, as most forks of a machine say nothing.
    private byte[] Line => _buffer ??= new byte[LogFormat.MostFront + MostText + 1];

    /// <summary>All writers have closed it.</summary>
    public bool IsOver { get; private set; }

    /// <summary>Is a part of a line pending?</summary>
    public bool IsPending => _count > 0;

    /// <summary>Reads everything that is available.</summary>
    /// <returns>Whether there was something.</returns>
    public bool TakeAll(bool isReady)
    {
        bool any = false;
        while (isReady && !IsOver)
        {
            // Where the next byte of the line belongs; never more than has room.
            Span<byte> room = Line.AsSpan(LogFormat.MostFront + _count, MostText - _count);
            long got;
            fixed (byte* start = room)
            {
                // SAFETY: as many bytes as the span has.
                got = LibC.read(pipe.Number, start, room.Length);
            }

            if (got < 0 && Marshal.GetLastPInvokeError() == ErrnoException.EINTR)
            {
                continue;
            }

            IsOver = got == 0;
            if (got <= 0)
            {
                break;
            }

            any = true;
            Split((int)got);
        }

        return any;
    }

    /// <summary>Writes the pending part of a line.</summary>
    public void WriteRest()
    {
        if (_count > 0)
        {
            Emit(Line.AsSpan(0, LogFormat.MostFront + _count + 1), _count, isWhole: false);
            _count = 0;
        }
    }

    public void Dispose() => pipe.Dispose();

    /// <summary>Writes the lines that are complete, and keeps what is behind the last one.</summary>
    private void Split(int added)
    {
        _began = _count == 0 ? DateTime.UtcNow : _began;
        _count += added;
        int first = 0;
        while (first < _count && Line.AsSpan(LogFormat.MostFront + first, _count - first).IndexOf((byte)'\n') is >= 0 and var length)
        {
            // The room in front of a line is that of the line before it, which is written already.
            Emit(Line.AsSpan(first, LogFormat.MostFront + length + 1), length, isWhole: true);
            first += length + 1;
            _began = DateTime.UtcNow;
        }

        _count -= first;
        Line.AsSpan(LogFormat.MostFront + first, _count).CopyTo(Line.AsSpan(LogFormat.MostFront));
        if (_count == MostText)
        {
            WriteRest();
        }
    }

    /// <param name="room">For the front, the text, and a line feed.</param>
    private void Emit(Span<byte> room, int length, bool isWhole)
    {
        Span<byte> front = stackalloc byte[LogFormat.MostFront];
        front = front[..LogFormat.WriteFront(front, _began, isError, isWhole)];
        Span<byte> line = room[(LogFormat.MostFront - front.Length)..];
        front.CopyTo(line);
        line[front.Length + length] = (byte)'\n';
        log.Write(line);
    }
}
