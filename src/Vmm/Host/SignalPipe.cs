using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>Signals as bytes in a pipe, for an event loop. A signal that the process was started to ignore stays ignored,
/// as nohup(1) and shells expect.</summary>
/// <remarks>The runtime's own way (PosixSignalRegistration) has a thread with a stack of 8 MiB and the thread pool between
/// the signal and whoever waits for it. signalfd(2) cannot be had: it wants the signal blocked in every thread, and the
/// runtime has started some before Main.</remarks>
internal sealed unsafe class SignalPipe : IDisposable
{
    // What a handler may do is little: this writes the signal's number to the pipe by a bare system call, which leaves
    // errno alone, too. Its argument is in EDI (System V ABI 3.2.3).
    private static readonly byte[] Handler =
    [
        0x57,                           // push rdi
        0xb8, 1, 0, 0, 0,               // mov eax, SYS_write
        0xbf, 0, 0, 0, 0,               // mov edi, the pipe
        0x48, 0x89, 0xe6,               // mov rsi, rsp
        0xba, 1, 0, 0, 0,               // mov edx, 1
        0x0f, 0x05,                     // syscall
        0x5f,                           // pop rdi
        0xc3,                           // ret
    ];

    private const int PipeOperand = 7;

    // Handlers' code and their pipe: never let go of, since one may be at work in some thread, but used again. A signal
    // that nobody read before the end of one is for the next: with --on-reboot restart that is the next machine's.
    private static readonly ConcurrentStack<(FileDescriptor Read, CodePages Page)> Spare = [];
    private static readonly ConcurrentStack<SafeHandle> Kept = [];

    private readonly FileDescriptor _read;
    private readonly CodePages _page;
    private readonly List<(int Signal, sigaction Before)> _taken = [];
    private bool _isDisposed;

    /// <param name="signals">Their numbers, below 256.</param>
    public SignalPipe(params ReadOnlySpan<int> signals)
    {
        (_read, _page) = Spare.TryPop(out (FileDescriptor, CodePages) spare) ? spare : Create();
        foreach (int signal in signals)
        {
            Take(signal, _page.Executable);
        }
    }

    /// <summary>Readable when a signal came.</summary>
    public int Number => _read.Number;

    /// <summary>The next signal that came; false if there is none.</summary>
    public bool TryRead(out int signal)
    {
        byte number;
        long got = LibC.read(_read.Number, &number, 1);
        signal = got == 1 ? number : 0;
        return got == 1;
    }

    /// <summary>Has a signal that a pipe has taken do now, to this process, what it does by default; SIGTSTP: returns when the process
    /// is continued.</summary>
    public static void DoDefault(int signal)
    {
        var action = new sigaction { sa_handler = LibC.SIG_DFL };
        sigaction mine;

        // SAFETY: structs on this stack, with the layout of glibc's (LibCTests).
        ErrnoException.Check(LibC.sigaction(signal, &action, &mine), "sigaction");

        // To this thread: it is delivered before the call returns.
        _ = LibC.tgkill(LibC.getpid(), LibC.gettid(), signal);
        ErrnoException.Check(LibC.sigaction(signal, &mine, null), "sigaction");
    }

    /// <summary>From now on the signals do what they did before.</summary>
    public void Dispose()
    {
        foreach ((int signal, sigaction before) in _taken)
        {
            sigaction action = before;
            _ = LibC.sigaction(signal, &action, null);
        }

        if (!_isDisposed)
        {
            _isDisposed = true;
            _taken.Clear();
            Spare.Push((_read, _page));
        }
    }

    private static (FileDescriptor Read, CodePages Page) Create()
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        Kept.Push(write);
        SetNonblocking(read);
        SetNonblocking(write); // a handler must not wait, either
        var page = new CodePages(length: 4096);

        // SAFETY: the page is longer than the code.
        var code = new Span<byte>((void*)page.Writable, Handler.Length);
        Handler.CopyTo(code);
        BinaryPrimitives.WriteInt32LittleEndian(code[PipeOperand..], write.Number);
        return (read, page);
    }

    private void Take(int signal, nint handler)
    {
        sigaction before;

        // SAFETY: structs on this stack, with the layout of glibc's (LibCTests).
        ErrnoException.Check(LibC.sigaction(signal, null, &before), "sigaction");
        if (before.sa_handler == LibC.SIG_IGN)
        {
            return;
        }

        // SA_RESTART: no system call of any thread is to fail for it.
        var action = new sigaction { sa_handler = (void*)handler, sa_flags = LibC.SA_RESTART };
        ErrnoException.Check(LibC.sigaction(signal, &action, null), "sigaction");
        _taken.Add((signal, before));
    }

    private static void SetNonblocking(FileDescriptor fd) =>
        ErrnoException.Check(LibC.fcntl(fd.Number, LibC.F_SETFL, LibC.O_NONBLOCK), "fcntl");
}
