using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Named.Logs;

/// <summary>Standard output and error of this process, on their way to a machine's console.log, each line with its time.</summary>
/// <remarks>Both become pipes, which a thread of its own reads: it sleeps while nothing is said, and needs no event loop, so what is
/// said before and after the machine runs is there, too. Where the disk is full lines are lost and counted; the guest is never held
/// up. Two files of <see cref="MostBytes"/> at most.</remarks>
internal sealed unsafe class LogWriter : IDisposable
{
    private const int StandardOutput = 1, StandardError = 2;
    private const int StackSize = 256 << 10;
    private const int MostBytes = 8 << 20;

    // A prompt is written though its line has no end yet; what comes byte by byte is gathered first.
    private const int GatherMilliseconds = 100;

    private readonly string _directory;
    private readonly FileDescriptor _endRead, _endWrite;
    private readonly LogStream _output, _error;
    private readonly HostThread _thread;
    private FileDescriptor _file;
    private long _length;
    private long _lost;
    private bool _hasStandardStreams;
    private bool _isDone;

    /// <param name="directory">Of the machine; its path must stay good whatever the directory is called later.</param>
    /// <param name="output">Pipes, that do not block; owned.</param>
    /// <param name="error">The same.</param>
    public LogWriter(string directory, FileDescriptor output, FileDescriptor error)
    {
        _directory = directory;
        _file = OpenFile(directory);
        _length = (long)HostFile.Status(_file, LogFormat.FileName).Size;
        (_endRead, _endWrite) = Pipe.Create();
        _output = new LogStream(this, isError: false, output);
        _error = new LogStream(this, isError: true, error);
        _thread = HostThread.Start("vmm-log", StackSize, Work);
    }

    /// <summary>Takes what this process says from now on.</summary>
    public static LogWriter OfThisProcess(string directory) =>
        new(directory, Redirect(StandardOutput), Redirect(StandardError)) { _hasStandardStreams = true };

    /// <summary>Opens a machine's console.log to write behind what is there.</summary>
    public static FileDescriptor OpenFile(string directory)
    {
        string path = Path.Combine(directory, LogFormat.FileName);
        return new FileDescriptor(ErrnoException.Check(
            LibC.open(path, LibC.O_WRONLY | LibC.O_CREAT | LibC.O_CLOEXEC | LibC.O_APPEND, (uint)PrivateFiles.OwnerOnly), path));
    }

    /// <summary>Writes what was said so far. What comes later goes to the file as it is.</summary>
    public void Finish()
    {
        if (_isDone)
        {
            return;
        }

        _isDone = true;
        if (_hasStandardStreams)
        {
            ErrnoException.Check(LibC.dup3(_file.Number, StandardOutput, 0), "dup3");
            ErrnoException.Check(LibC.dup3(_file.Number, StandardError, 0), "dup3");
        }

        _endWrite.Dispose();
        _thread.Join();
    }

    public void Dispose()
    {
        Finish();
        _output.Dispose();
        _error.Dispose();
        _endRead.Dispose();
        _file.Dispose();
    }

    /// <summary>Writes one line or a part of one. On the thread.</summary>
    /// <param name="line">With its front, and a line feed behind it.</param>
    internal void Write(ReadOnlySpan<byte> line)
    {
        if (_length + line.Length > MostBytes)
        {
            BeginNewFile();
        }

        if (_lost > 0 && TryWrite(Encoding.ASCII.GetBytes(string.Create(
            System.Globalization.CultureInfo.InvariantCulture, $"vmm: {_lost} bytes of what it said are lost: they could not be written\n"))))
        {
            _lost = 0;
        }

        if (!TryWrite(line))
        {
            _lost += line.Length;
        }
    }

    private bool TryWrite(ReadOnlySpan<byte> line)
    {
        fixed (byte* start = line)
        {
            // SAFETY: as many bytes as the span has.
            long written = LibC.write(_file.Number, start, line.Length);
            _length += Math.Max(written, 0);
            return written == line.Length;
        }
    }

    private void BeginNewFile()
    {
        try
        {
            File.Move(Path.Combine(_directory, LogFormat.FileName), Path.Combine(_directory, LogFormat.OldFileName), overwrite: true);
            FileDescriptor file = OpenFile(_directory);
            _file.Dispose();
            _file = file;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ErrnoException)
        {
            // The old one goes on.
        }

        _length = 0;
    }

    /// <returns>The end to read from; does not block.</returns>
    private static FileDescriptor Redirect(int standard)
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        using (write)
        {
            ErrnoException.Check(LibC.fcntl(read.Number, LibC.F_SETFL, LibC.O_NONBLOCK), "fcntl");
            ErrnoException.Check(LibC.dup3(write.Number, standard, 0), "dup3");
        }

        return read;
    }

    private void Work()
    {
        pollfd* polls = stackalloc pollfd[3];
        bool isEnding = false;
        while (true)
        {
            // A pipe at its end would be ready for ever.
            polls[0] = Asked(_output.IsOver ? -1 : _output.Number);
            polls[1] = Asked(_error.IsOver ? -1 : _error.Number);
            polls[2] = Asked(isEnding ? -1 : _endRead.Number);

            // SAFETY: three structs on this stack.
            int timeout = isEnding ? 0 : _output.IsPending || _error.IsPending ? GatherMilliseconds : -1;
            int ready = LibC.Poll(polls, 3, timeout);
            if (ready < 0 && Marshal.GetLastPInvokeError() != ErrnoException.EINTR)
            {
                return;
            }

            bool moved = ready > 0 && (_error.TakeAll(polls[1].revents != 0) | _output.TakeAll(polls[0].revents != 0));
            if (!moved)
            {
                _output.WriteRest();
                _error.WriteRest();
                if (isEnding)
                {
                    return;
                }
            }

            isEnding |= ready > 0 && polls[2].revents != 0;
        }
    }

    private static pollfd Asked(int fd) => new() { fd = fd, events = LibC.POLLIN };
}
