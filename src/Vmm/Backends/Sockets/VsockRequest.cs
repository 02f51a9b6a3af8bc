using System.Text;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Backends.Sockets;

/// <summary>A program of the host that has connected but not yet asked for a port of the guest.</summary>
internal sealed class VsockRequest : IDisposable
{
    private const int MostBytes = 32;
    private const string Verb = "CONNECT ";

    private readonly ConnectedSocket _socket;
    private readonly Interest _interest;
    private readonly Action<VsockRequest, uint?> _answer;
    private readonly byte[] _line = new byte[MostBytes];
    private int _length;

    /// <param name="answer">Gets the port, or null for an invalid request; once, on the loop's thread.</param>
    public VsockRequest(EventLoop loop, ConnectedSocket socket, Action<VsockRequest, uint?> answer)
    {
        _socket = socket;
        _answer = answer;
        _interest = new Interest(loop, socket.Number, LibC.EPOLLIN, _ => Read());
    }

    /// <summary>Returns the socket, with everything after the line still unread.</summary>
    public ConnectedSocket Release()
    {
        _interest.Dispose();
        return _socket;
    }

    public void Dispose() => Release().Dispose();

    private static uint? Parse(ReadOnlySpan<byte> line)
    {
        string text = Encoding.ASCII.GetString(line).TrimEnd('\r');
        return text.StartsWith(Verb, StringComparison.OrdinalIgnoreCase)
            ? (uint?)OptionText.Number(text[Verb.Length..].Trim(), 0, uint.MaxValue)
            : null;
    }

    /// <summary>A byte at a time: what follows the newline is for the guest.</summary>
    private void Read()
    {
        while (_length < MostBytes)
        {
            Span<byte> next = _line.AsSpan(_length, 1);
            int got = _socket.Receive(next);
            if (got == 0)
            {
                return;
            }

            if (got < 0)
            {
                break;
            }

            if (next[0] == '\n')
            {
                _answer(this, Parse(_line.AsSpan(0, _length)));
                return;
            }

            _length++;
        }

        _answer(this, null);
    }
}
