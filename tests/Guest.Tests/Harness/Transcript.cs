using System.Text;

namespace Vmm.Guest.Tests.Harness;

/// <summary>What a process said so far. One thread adds, others wait for text in it.</summary>
internal sealed class Transcript
{
    private readonly object _changed = new();
    private readonly StringBuilder _text = new();
    private int _seen;
    private bool _closed;

    /// <summary>All of it, one character for each byte.</summary>
    public string Text
    {
        get
        {
            lock (_changed)
            {
                return _text.ToString();
            }
        }
    }

    /// <summary>Reads a stream to its end, on a thread of its own.</summary>
    public static Transcript Of(Func<byte[], int> read)
    {
        var transcript = new Transcript();
        new Thread(() => transcript.Collect(read)) { IsBackground = true, Name = "transcript" }.Start();
        return transcript;
    }

    /// <summary>Waits until the text comes up after what earlier calls waited for.</summary>
    /// <returns>What was said from there to the end of the text.</returns>
    /// <exception cref="InvalidOperationException">The process ended first, or the time is up.</exception>
    public string WaitFor(string text)
    {
        DateTime end = DateTime.UtcNow + Product.Patience;
        lock (_changed)
        {
            while (true)
            {
                string unseen = _text.ToString(_seen, _text.Length - _seen);
                int at = unseen.IndexOf(text, StringComparison.Ordinal);
                if (at >= 0)
                {
                    _seen += at + text.Length;
                    return unseen[..(at + text.Length)];
                }

                TimeSpan left = end - DateTime.UtcNow;
                if (_closed || left <= TimeSpan.Zero || !Monitor.Wait(_changed, left))
                {
                    string why = _closed ? "the output ended" : "time is up";
                    throw new InvalidOperationException($"{why} while waiting for '{text}' after:\n{_text}");
                }
            }
        }
    }

    /// <summary>Waits for the end of the stream.</summary>
    /// <returns>All that was said.</returns>
    public string WaitForEnd()
    {
        DateTime end = DateTime.UtcNow + Product.Patience;
        lock (_changed)
        {
            while (!_closed)
            {
                TimeSpan left = end - DateTime.UtcNow;
                if (left <= TimeSpan.Zero || !Monitor.Wait(_changed, left))
                {
                    throw new InvalidOperationException($"the output does not end:\n{_text}");
                }
            }

            return _text.ToString();
        }
    }

    private void Collect(Func<byte[], int> read)
    {
        byte[] buffer = new byte[4096];
        int count;
        while ((count = Read(read, buffer)) > 0)
        {
            lock (_changed)
            {
                _text.Append(Encoding.Latin1.GetString(buffer, 0, count));
                Monitor.PulseAll(_changed);
            }
        }

        lock (_changed)
        {
            _closed = true;
            Monitor.PulseAll(_changed);
        }
    }

    private static int Read(Func<byte[], int> read, byte[] buffer)
    {
        try
        {
            return read(buffer);
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException)
        {
            return 0;
        }
    }
}
