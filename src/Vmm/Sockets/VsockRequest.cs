using System.Runtime.InteropServices;
using System.Text;
using Vmm.Host;
using Vmm.Options;

namespace Vmm.Sockets;

/// <summary>A program of the host that has yet to say which port of the guest it wants.</summary>
internal sealed unsafe class VsockRequest : IDisposable
{
    private const int MostBytes = 32;
    private const string Verb = "CONNECT ";

    private readonly FileDescriptor _socket;
    private readonly Interest _interest;
    private readonly Action<VsockRequest, uint?> _answer;
    private readonly byte[] _line = new byte[MostBytes];
    private int _length;

    /// <param name="answer">Gets the port, or null where what came is no request; once, on the loop's thread.</param>
    public VsockRequest(EventLoop loop, FileDescriptor socket, Action<VsockRequest, uint?> answer)
    {
        _socket = socket;
        _answer = answer;
        _interest = new Interest(loop, socket.Number, LibC.EPOLLIN, _ => Read());
    }

    /// <summary>Hands the socket over, with all that follows the line unread in it.</summary>
    public FileDescriptor Release()
    {
        _interest.Dispose();
        return _socket;
    }

    public void Dispose() => Release().Dispose();

    /// <returns>Null where it is no request.</returns>
    internal static uint? Parse(ReadOnlySpan<byte> line)
    {
        string text = Encoding.ASCII.GetString(line).TrimEnd('\r');
        return text.StartsWith(Verb, StringComparison.OrdinalIgnoreCase)
            ? (uint?)OptionText.Number(text[Verb.Length..].Trim(), 0, uint.MaxValue)
            : null;
    }

    /// <summary>A byte at a time: what follows the newline is not ours.</summary>
    private void Read()
    {
        while (_length < MostBytes)
        {
            byte next;

            // SAFETY: one byte of this stack.
            nint got = LibC.Read(_socket.Number, &next, 1);
            if (got < 0 && Marshal.GetLastPInvokeError() is ErrnoException.EAGAIN or ErrnoException.EINTR)
            {
                return;
            }

            if (got <= 0)
            {
                break;
            }

            if (next == '\n')
            {
                _answer(this, Parse(_line.AsSpan(0, _length)));
                return;
            }

            _line[_length++] = next;
        }

        _answer(this, null);
    }
}
