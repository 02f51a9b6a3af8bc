using System.Globalization;
using System.Text;
using Vmm.Devices.Legacy;
using Vmm.Host;

namespace Vmm.Run.Results;

/// <summary>The guest's console in a file, each line with the seconds since vmm was started. The guest never waits for it: when
/// a slow disk cannot keep up, output is left out, and the log says so.</summary>
internal sealed class ConsoleLog : ISerialOutput, IDisposable
{
    private const int Capacity = 1 << 20;

    private readonly OutputFile _file;
    private readonly WriterThread _writer;
    private readonly Func<double> _seconds;
    private readonly byte[] _stamp = new byte[32];
    private bool _isWithinLine;
    private long _lost;

    /// <param name="file">Owned from now on.</param>
    /// <param name="seconds">Since vmm was started.</param>
    public ConsoleLog(OutputFile file, Func<double> seconds)
    {
        (_file, _seconds) = (file, seconds);
        _writer = new WriterThread("--log", file.BeginWriting(), Capacity);
    }

    /// <summary>Why it could not be written; null while it could.</summary>
    public string? Failure => _writer.Failure?.Message;

    /// <summary>What is missing at its end because the disk was too slow; null for nothing.</summary>
    public string? Lost => Failure is null && _lost > 0 ? $"--log: {_lost} bytes were left out: the disk was too slow" : null;

    /// <summary>On one thread at a time.</summary>
    public int Write(ReadOnlySpan<byte> bytes)
    {
        int all = bytes.Length;
        while (!bytes.IsEmpty)
        {
            if (!_isWithinLine)
            {
                Stamp();
            }

            int end = bytes.IndexOf((byte)'\n');
            ReadOnlySpan<byte> part = end < 0 ? bytes : bytes[..(end + 1)];
            Put(part);
            _isWithinLine = end < 0;
            bytes = bytes[part.Length..];
        }

        return all;
    }

    public void Flush(TimeSpan patience) => _writer.Flush(patience);

    public void Dispose()
    {
        _writer.Dispose();
        _file.Dispose();
    }

    private void Stamp()
    {
        if (_seconds().TryFormat(_stamp, out int length, "0.000000", CultureInfo.InvariantCulture))
        {
            Put("["u8);
            Put("            "u8[..Math.Max(0, 12 - length)]);
            Put(_stamp.AsSpan(0, length));
            Put("] "u8);
        }
    }

    private void Put(ReadOnlySpan<byte> bytes)
    {
        if (_lost > 0 && _writer.TryWriteAll(Encoding.ASCII.GetBytes($"\n... {_lost} bytes are missing here ...\n")))
        {
            _lost = 0;
        }

        if (_lost > 0 || !_writer.TryWriteAll(bytes))
        {
            _lost += bytes.Length;
        }
    }
}
