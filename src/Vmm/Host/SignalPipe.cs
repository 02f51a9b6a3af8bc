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
    // Native/signals.c; bound by the linker, as the C library is.
    private const string Library = "vmmnative";

    // Pipes are reused and never closed, since a handler may be running in some thread. A signal that was not read when one was
    // disposed is read from the next: with --on-reboot restart by the next machine.
    private static readonly ConcurrentStack<(FileDescriptor Read, FileDescriptor Write)> Spare = [];
    private static readonly ConcurrentStack<SafeHandle> Kept = [];

    private readonly FileDescriptor _read;
    private readonly FileDescriptor _write;
    private readonly List<(int Signal, sigaction Before, int PipeBefore)> _taken = [];
    private bool _isDisposed;

    /// <param name="signals">Their numbers, below 256.</param>
    public SignalPipe(params ReadOnlySpan<int> signals)
        : this(null, signals)
    {
    }

    /// <param name="from">A pipe that loses the signals of this one, with those of them that came; null for none.</param>
    /// <param name="isEarly">Nobody may come to hear a signal: then it ends the process ten seconds later.</param>
    /// <inheritdoc cref="SignalPipe(ReadOnlySpan{int})"/>
    public SignalPipe(SignalPipe? from, ReadOnlySpan<int> signals, bool isEarly = false)
    {
        (_read, _write) = Spare.TryPop(out (FileDescriptor, FileDescriptor) spare) ? spare : Create();
        void* handler = isEarly ? vmm_early_signal_handler() : vmm_signal_handler();
        foreach (int signal in signals)
        {
            Take(signal, handler);
            if (from?._taken.FindIndex(each => each.Signal == signal) is { } at and >= 0)
            {
                _taken[^1] = from._taken[at];
                from._taken.RemoveAt(at);
            }
        }

        while (from?.TryRead(out int came) == true)
        {
            byte number = (byte)came;
            _ = LibC.write(_write.Number, &number, 1);
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

    /// <summary>Performs the default action of a signal that a pipe has taken on this process. For SIGTSTP it returns when the process is
    /// continued.</summary>
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

    /// <summary>Restores the signals' former actions.</summary>
    public void Dispose()
    {
        foreach ((int signal, sigaction before, int pipe) in _taken)
        {
            sigaction action = before;
            _ = LibC.sigaction(signal, &action, null);
            if (pipe != 0)
            {
                _ = vmm_signal_pipe(signal, pipe);
            }
        }

        if (!_isDisposed)
        {
            _isDisposed = true;
            _taken.Clear();
            Spare.Push((_read, _write));
        }
    }

    private static (FileDescriptor Read, FileDescriptor Write) Create()
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        Kept.Push(write);
        SetNonblocking(read);
        SetNonblocking(write); // a handler must not wait, either
        return (read, write);
    }

    private void Take(int signal, void* handler)
    {
        sigaction before;

        // SAFETY: structs on this stack, with the layout of glibc's (LibCTests).
        ErrnoException.Check(LibC.sigaction(signal, null, &before), "sigaction");
        if (before.sa_handler == LibC.SIG_IGN)
        {
            return;
        }

        // SA_RESTART: no system call of any thread is to fail for it.
        var action = new sigaction { sa_handler = handler, sa_flags = LibC.SA_RESTART };
        int pipe = vmm_signal_pipe(signal, _write.Number);
        ErrnoException.Check(LibC.sigaction(signal, &action, null), "sigaction");
        _taken.Add((signal, before, pipe));
    }

    [DllImport(Library)]
    private static extern int vmm_signal_pipe(int signal, int pipe);

    [DllImport(Library)]
    private static extern void* vmm_signal_handler();

    [DllImport(Library)]
    private static extern void* vmm_early_signal_handler();

    private static void SetNonblocking(FileDescriptor fd) =>
        ErrnoException.Check(LibC.fcntl(fd.Number, LibC.F_SETFL, LibC.O_NONBLOCK), "fcntl");
}
