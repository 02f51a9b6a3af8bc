using System.Diagnostics;
using System.IO.Pipes;
using System.Text;
using Vmm.Host;

namespace Vmm.Guest.Tests.Harness;

/// <summary>vmm between pipes. What it says is collected as it comes.</summary>
internal sealed class VmmProcess : IDisposable
{
    private readonly Process _process;
    private Transcript? _output;

    private VmmProcess(string program, IEnumerable<string> arguments)
    {
        // A signal that the tests were started without (nohup make test) would stay ignored by vmm, too.
        var start = new ProcessStartInfo("/usr/bin/env", ["--default-signal", program, .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        _process = Process.Start(start)!;
        Stream error = _process.StandardError.BaseStream;
        Error = Transcript.Of(buffer => error.Read(buffer));
    }

    /// <summary>Standard output, which the guest's console goes to. Nothing reads it before this is first asked
    /// for.</summary>
    public Transcript Output
    {
        get
        {
            Stream output = RawOutput;
            return _output ??= Transcript.Of(buffer => output.Read(buffer));
        }
    }

    public Transcript Error { get; }

    /// <summary>Standard output itself, for tests that read slowly or not at all.</summary>
    public Stream RawOutput => _process.StandardOutput.BaseStream;

    public int Id => _process.Id;

    public bool IsRunning => !_process.HasExited;

    public static VmmProcess Start(params IEnumerable<string> arguments)
    {
        var process = new VmmProcess(Product.Vmm, arguments);
        _ = process.Output;
        return process;
    }

    /// <summary>As <see cref="Start"/>, but nobody reads the output yet.</summary>
    /// <param name="pipe">Bytes that the pipe in between holds, as far as the kernel allows (fcntl(2),
    /// F_SETPIPE_SZ).</param>
    public static VmmProcess StartUnread(int pipe, params IEnumerable<string> arguments)
    {
        var process = new VmmProcess(Product.Vmm, arguments);
        int fd = (int)((PipeStream)process.RawOutput).SafePipeHandle.DangerousGetHandle();
        Assert.True(LibC.fcntl(fd, LibC.F_SETPIPE_SZ, pipe) >= 0);
        return process;
    }

    /// <param name="script">For sh; vmm and its arguments are <c>"$@"</c> in it.</param>
    public static VmmProcess StartInShell(string script, params IEnumerable<string> arguments)
    {
        var process = new VmmProcess("/bin/sh", ["-c", script, "sh", Product.Vmm, .. arguments]);
        _ = process.Output;
        return process;
    }

    /// <summary>Starts it where the file systems look different to it alone.</summary>
    /// <param name="mounts">Commands for sh that mount what is wanted.</param>
    public static VmmProcess StartAmongMounts(string mounts, params IEnumerable<string> arguments) => StartInShell(
        $"[ $(id -u) = 0 ] || map=--map-root-user; exec unshare $map --mount sh -c '{mounts} && exec \"$@\"' sh \"$@\"",
        arguments);

    /// <summary>Runs it without input to its end.</summary>
    public static Ended Run(params IEnumerable<string> arguments)
    {
        using VmmProcess process = Start(arguments);
        process.CloseInput();
        return process.WaitForEnd();
    }

    public void Type(string text)
    {
        _process.StandardInput.BaseStream.Write(Encoding.Latin1.GetBytes(text));
        _process.StandardInput.BaseStream.Flush();
    }

    public void CloseInput() => _process.StandardInput.Close();

    public void Signal(int number) => Signals.Send(_process, number);

    /// <exception cref="InvalidOperationException">It does not end.</exception>
    public Ended WaitForEnd()
    {
        if (!_process.WaitForExit(Product.Patience))
        {
            throw new InvalidOperationException($"vmm does not end; it said:\n{_output?.Text}\n{Error.Text}");
        }

        return new Ended(_process.ExitCode, Output.WaitForEnd(), Error.WaitForEnd());
    }

    public void Dispose() => Signals.EndForCertain(_process);

    /// <summary>How it ended and all that it said.</summary>
    public sealed record Ended(int Code, string Output, string Error);
}
