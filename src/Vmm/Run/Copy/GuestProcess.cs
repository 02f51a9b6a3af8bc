using System.Text;
using System.Text.Json;
using Vmm.Control;
using Vmm.Host;

namespace Vmm.Run.Copy;

/// <summary>A process in a guest whose standard streams are this object's: whoever reads or writes waits.</summary>
internal sealed class GuestProcess : SequentialStream
{
    private const int MostComplaint = 4096;

    private readonly ControlClient _client;
    private readonly ControlOpened _opened;
    private readonly StringBuilder _complaint = new();
    private byte[] _output = [];
    private int _first;
    private long _credit;
    private bool _inputClosed;

    /// <exception cref="HostException">The machine cannot.</exception>
    public GuestProcess(ControlClient client, ExecArguments arguments)
    {
        _client = client;
        _opened = client.Ask("exec", arguments.ToJson(), ControlJson.Default.ControlOpened, Timeout.InfiniteTimeSpan);
        _credit = _opened.IsPossible() ? _opened.InputWindow : throw client.IsNoMachine();
    }

    /// <summary>How it ended; null while it runs.</summary>
    public ControlEvent? Exit { get; private set; }

    /// <summary>What it said on standard error, up to 4 KiB.</summary>
    public string Complaint => Text.PrintableText.Of(_complaint.ToString().Trim().ReplaceLineEndings("; "));

    public override bool CanRead => true;

    public override bool CanWrite => true;

    /// <summary>Ends its input, and waits for its end.</summary>
    public void Finish()
    {
        if (Exit is null && !_inputClosed)
        {
            Tell("input", JsonSerializer.SerializeToElement(new InputArguments(_opened.Stream, []), ControlJson.Default.InputArguments));
        }

        while (Exit is null)
        {
            _first = _output.Length;
            Hear();
        }
    }

    public override int Read(Span<byte> buffer)
    {
        while (_first == _output.Length)
        {
            if (Exit is not null || buffer.IsEmpty)
            {
                return 0;
            }

            Hear();
        }

        int part = Math.Min(buffer.Length, _output.Length - _first);
        _output.AsSpan(_first, part).CopyTo(buffer);
        _first += part;
        return part;
    }

    /// <exception cref="HostException">It reads no more.</exception>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (!buffer.IsEmpty)
        {
            while (_credit == 0 && Exit is null && !_inputClosed)
            {
                Hear();
            }

            if (Exit is not null || _inputClosed)
            {
                throw new HostException($"the guest takes no more: {(Complaint.Length > 0 ? Complaint : "its program has ended")}");
            }

            int part = (int)Math.Min(Math.Min(buffer.Length, _credit), ControlConnection.MostChunk);
            Tell("input", JsonSerializer.SerializeToElement(
                new InputArguments(_opened.Stream, buffer[..part].ToArray()), ControlJson.Default.InputArguments));
            _credit -= part;
            buffer = buffer[part..];
        }
    }

    private void Tell(string command, JsonElement arguments) => _client.Tell(command, arguments);

    private void Hear()
    {
        ControlEvent? happened;
        try
        {
            byte[] line = _client.ReadLine(Timeout.InfiniteTimeSpan) ?? throw new HostException("the machine has ended");
            happened = line.AsSpan().StartsWith("{\"event\":"u8) ? JsonSerializer.Deserialize(line, ControlJson.Default.ControlEvent) : null;
        }
        catch (JsonException)
        {
            throw new HostException(ControlClient.NoMachine);
        }

        if (happened?.Stream != _opened.Stream)
        {
            return;
        }

        switch (happened.Event)
        {
            case "output" when happened is { Fd: 1 or 2, Data: { } data }:
                Take(happened.Fd.Value, data);
                break;
            case "credit":
                _credit += happened.Bytes ?? 0;
                break;
            case "input-closed":
                _inputClosed = true;
                break;
            case "exited":
                Exit = happened;
                break;
        }
    }

    private void Take(int fd, byte[] data)
    {
        Tell("credit", JsonSerializer.SerializeToElement(
            new CreditArguments(_opened.Stream, fd, (uint)data.Length), ControlJson.Default.CreditArguments));
        if (fd == 1)
        {
            (_output, _first) = (data, 0);
        }
        else if (_complaint.Length < MostComplaint)
        {
            _complaint.Append(Encoding.UTF8.GetString(data.AsSpan(0, Math.Min(data.Length, MostComplaint))));
        }
    }
}
