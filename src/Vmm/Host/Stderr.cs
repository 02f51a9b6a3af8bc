using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>vmm's own messages, on standard error. System.Console is not used: it costs milliseconds to start and
/// changes the terminal.</summary>
internal static unsafe class Stderr
{
    private const int StandardError = 2;
    private const int Capacity = 64 * 1024;

    private static readonly Lock Writing = new();
    private static WriterThread? _writer;
    private static bool _isRunning;
    private static bool _usesThread;

    /// <summary>Set while a terminal is in raw mode: a line feed alone then runs down in stairs.</summary>
    public static bool NeedsCarriageReturns { get; set; }

    public static bool IsTerminal => LibC.isatty(StandardError) == 1;

    /// <summary>How long the messages at the end wait for a reader; for ever if not set: a signal ends vmm then.</summary>
    public static TimeSpan Patience { get; set; } = Timeout.InfiniteTimeSpan;

    /// <summary>A machine runs from now on: no writer of a message may wait for its reader.</summary>
    public static void BeginRun() => _isRunning = _usesThread = true;

    /// <summary>The machine has ended: messages may wait for the reader again.</summary>
    public static void EndRun() => _isRunning = false;

    public static void WriteLine(string line) => Write(line + "\n");

    public static void Write(string text)
    {
        byte[] bytes = FileNames.ToBytes(
            NeedsCarriageReturns ? text.Replace("\n", "\r\n", StringComparison.Ordinal) : text);
        lock (Writing)
        {
            if (_usesThread)
            {
                _writer ??= new WriterThread("standard error", StandardError, Capacity);
                WriteByThread(_writer, bytes);
            }
            else
            {
                WriteHere(bytes);
            }
        }
    }

    /// <summary>Waits until everything is written, just before the process ends.</summary>
    public static void Finish() => _writer?.Flush(Patience);

    private static void WriteByThread(WriterThread writer, ReadOnlySpan<byte> bytes)
    {
        if (_isRunning)
        {
            // A message that does not fit is lost: 64 KiB before it have not been read.
            _ = writer.TryWriteAll(bytes);
            return;
        }

        while (true)
        {
            bytes = bytes[writer.Write(bytes)..];
            if (bytes.IsEmpty || !writer.Flush(Patience))
            {
                return;
            }
        }
    }

    private static void WriteHere(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            for (int done = 0; done < bytes.Length;)
            {
                // SAFETY: done < bytes.Length, and the array is pinned.
                long written = LibC.write(StandardError, start + done, bytes.Length - done);
                if (written >= 0)
                {
                    done += (int)written;
                    continue;
                }

                int errno = Marshal.GetLastPInvokeError();
                if (errno == ErrnoException.EAGAIN)
                {
                    // Somebody else made it non-blocking, and it is full.
                    var poll = new pollfd { fd = StandardError, events = LibC.POLLOUT };
                    _ = LibC.Poll(&poll, 1, -1);
                }
                else if (errno != ErrnoException.EINTR)
                {
                    return; // nobody to tell
                }
            }
        }
    }
}
