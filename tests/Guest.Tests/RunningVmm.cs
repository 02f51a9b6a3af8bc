using System.Diagnostics;
using System.Text;

namespace Vmm.Guest.Tests;

/// <summary>A vmm process whose console the test reads and types on, through pipes or through a terminal.</summary>
internal sealed class RunningVmm : IDisposable
{
    /// <summary>The shell's prompt in the reference guest, without the directory.</summary>
    public const string Prompt = "vmm:~# ";

    // Not a measure: on an emulated host that others keep busy a boot takes half a minute.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly Thread[] _readers;
    private bool _isEnded;
    private int _seen;

    private RunningVmm(ProcessStartInfo start)
    {
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        _process = Process.Start(start) ?? throw new InvalidOperationException(start.FileName);
        _readers = [Reader(_process.StandardOutput.BaseStream), Reader(_process.StandardError.BaseStream)];
    }

    /// <summary>Everything printed so far.</summary>
    public string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    /// <summary>Starts vmm with its console on pipes.</summary>
    public static RunningVmm OnPipes(params string[] arguments) => new(new ProcessStartInfo(Paths.Vmm, arguments));

    /// <summary>Starts a shell command line on a pseudo-terminal made by script(1).</summary>
    public static RunningVmm OnTerminal(string commandLine) =>
        new(new ProcessStartInfo("script", ["-q", "-e", "-c", commandLine, "/dev/null"]));

    /// <summary>Waits until a text has come since the last one waited for.</summary>
    public void WaitFor(string text)
    {
        long deadline = Environment.TickCount64 + (long)Patience.TotalMilliseconds;
        lock (_output)
        {
            while (true)
            {
                int found = _output.ToString(_seen, _output.Length - _seen).IndexOf(text, StringComparison.Ordinal);
                if (found >= 0)
                {
                    _seen += found + text.Length;
                    return;
                }

                long left = deadline - Environment.TickCount64;
                if (left <= 0 || _isEnded)
                {
                    Assert.Fail($"'{text}' did not come{(_isEnded ? " before the end" : "")}. The console:\n{_output}");
                }

                Monitor.Wait(_output, TimeSpan.FromMilliseconds(left));
            }
        }
    }

    public void Type(string keys)
    {
        _process.StandardInput.BaseStream.Write(Encoding.UTF8.GetBytes(keys));
        _process.StandardInput.BaseStream.Flush();
    }

    /// <summary>Types a command and waits for the prompt after it.</summary>
    /// <returns>What the command printed, its own echo included.</returns>
    public string Command(string command)
    {
        int start = _seen;
        Type(command + "\n");
        WaitFor(Prompt);
        lock (_output)
        {
            return _output.ToString(start, _seen - start);
        }
    }

    public void Kill() => _process.Kill();

    public void Terminate() => Tool.MustRun("kill", "-TERM", $"{_process.Id}");

    /// <summary>Waits for the end.</summary>
    /// <returns>The exit code.</returns>
    public int WaitForExit()
    {
        Assert.True(_process.WaitForExit(Patience), $"vmm did not end. The console:\n{Output}");
        foreach (Thread reader in _readers)
        {
            reader.Join();
        }

        return _process.ExitCode;
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            _process.WaitForExit();
        }

        _process.Dispose();
    }

    private Thread Reader(Stream stream)
    {
        var thread = new Thread(() => Read(stream)) { IsBackground = true };
        thread.Start();
        return thread;
    }

    private void Read(Stream stream)
    {
        byte[] bytes = new byte[4096];
        int count;
        while ((count = stream.Read(bytes)) > 0)
        {
            lock (_output)
            {
                _output.Append(Encoding.Latin1.GetString(bytes, 0, count));
                Monitor.PulseAll(_output);
            }
        }

        lock (_output)
        {
            _isEnded = true;
            Monitor.PulseAll(_output);
        }
    }
}
