using Vmm.Backends.Console;
using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Console;
using Vmm.Host;

namespace Vmm.Machines;

/// <summary>COM1, or the console of virtio-console, wired to standard input and output: a terminal in raw mode, or pipes and files.
/// </summary>
internal sealed class GuestConsole : IDisposable
{
    private const int StandardInput = 0;
    private const int StandardOutput = 1;
    private const string Help = """

        Ctrl-A x   end vmm and the guest with it
        Ctrl-A b   send a break (Linux: the next key is a SysRq command)
        Ctrl-A a   send Ctrl-A itself (also Ctrl-A Ctrl-A)
        Ctrl-A h   this help

        """;

    // How often a vmm in the background checks for the foreground: bash sends no SIGCONT to a running job when it brings it there.
    private static readonly TimeSpan BackgroundCheck = TimeSpan.FromMilliseconds(200);

    // How long a busy reader is waited for once a signal asks vmm to end.
    private static readonly TimeSpan SignalPatience = TimeSpan.FromSeconds(1);

    // A terminal normally takes the rest at once; if it does not, its settings are restored first, so that Ctrl-C works.
    private static readonly TimeSpan BeforeRestore = TimeSpan.FromMilliseconds(100);

    /// <summary>The name of the serial port with the kernel's console.</summary>
    public const string FirstPort = "COM1";

    private readonly EventLoop _loop;
    private readonly Terminal? _terminal;
    private readonly ConsoleOutput _output;
    private readonly InputDescriptor _source;
    private readonly LoopTimer? _look;
    private ISignalled _machine = null!;
    private ConsoleInput _input = null!;

    /// <summary>Opens the streams.</summary>
    public GuestConsole(EventLoop loop)
    {
        _loop = loop;
        _output = new ConsoleOutput(loop, StandardOutput);
        _terminal = Terminal.TryOpen(StandardInput);
        _source = new InputDescriptor(StandardInput, _terminal is not null);
        _look = _terminal is null ? null : new LoopTimer(loop, TakeTerminal);
    }

    /// <summary>COM1; with <see cref="VirtioPort"/> only for early messages of the kernel.</summary>
    public Serial16550 Port { get; private set; } = null!;

    /// <summary>The port of virtio-console that has the input; null where <see cref="Port"/> has it.</summary>
    public ConsolePort? VirtioPort { get; private set; }

    public long BytesOut => _output.TotalBytes;

    public long BytesIn => _input.TotalBytes;

    /// <summary>Makes the serial port between the streams and the guest. Once.</summary>
    /// <param name="machine">The machine, which ends when the output is closed or the user asks for it at the console.</param>
    /// <param name="watch">Gets the guest's output.</param>
    /// <param name="virtio">The guest's console is hvc0.</param>
    public void Connect(ISignalled machine, IInterruptLine interrupt, IConsoleTap watch, bool virtio = false)
    {
        _machine = machine;
        ISerialOutput output = new TappedOutput(_output, watch);
        output = virtio ? new LockedOutput(output) : output;
        Port = new Serial16550(FirstPort, output, interrupt);
        _output.Drained += Port.OutputDrained;
        if (virtio)
        {
            VirtioPort = new ConsolePort("", output, isConsole: true);
            _output.Drained += VirtioPort.OutputDrained;
        }

        _output.Broken += error => machine.End(MachineEnd.OutputClosed(error.Message));
        _input = new ConsoleInput(_loop, _source, _terminal, (ISerialInput?)VirtioPort ?? Port, _output, OnCommand);
        _input.TerminalLost += TakeTerminal;
    }

    /// <summary>Before the vCPUs run.</summary>
    /// <param name="unread">Standard input that the machine before this one read and its guest did not take.</param>
    public void Start(ReadOnlySpan<byte> unread)
    {
        _input.Queue(unread);
        TakeTerminal();
        _loop.Post(_input.Start);
    }

    /// <summary>The terminal's size; zeros where there is none.</summary>
    public (ushort Rows, ushort Columns) Size => _terminal is null ? default : Terminal.SizeOf(StandardInput);

    /// <summary>Sets the terminal to raw mode if vmm is in the foreground; else checks again from time to time.</summary>
    public void TakeTerminal()
    {
        if (_terminal is null)
        {
            return;
        }

        if (_terminal.Take())
        {
            _input.Release();
            return;
        }

        _input.Hold();
        _look!.Set(BackgroundCheck);
    }

    /// <summary>Restores the terminal's settings until <see cref="TakeTerminal"/>.</summary>
    public void GiveTerminal()
    {
        if (_terminal is not null)
        {
            _input.Hold();
            _terminal.Restore();
        }
    }

    /// <summary>Standard input that was read and that the guest has not taken. The event loop has ended.</summary>
    public byte[] TakeUnread() => _input.TakeUnread();

    /// <summary>Writes the rest of the guest's output and restores the terminal. The event loop has ended.</summary>
    /// <param name="end">How the guest ended.</param>
    /// <param name="signals">Signals that end the wait for a slow reader; null for none.</param>
    /// <returns>The end, changed if the guest's output could not be written.</returns>
    public MachineEnd Finish(MachineEnd end, StopSignals? signals)
    {
        bool done = _output.Flush(BeforeRestore);
        _terminal?.Restore();
        if (!done && end.Kind == MachineEndKind.Stopped)
        {
            done = _output.Flush(SignalPatience);
        }
        else if (!done)
        {
            end = FlushUntilSignal(end, signals);
        }

        return _output.Failure is { } error && end.ExitCode == ExitCodes.Success && end.Kind != MachineEndKind.Stopped
            ? MachineEnd.OutputClosed(error.Message)
            : end;
    }

    /// <summary>Restores the terminal's settings; for exceptions.</summary>
    public void RestoreTerminal() => _terminal?.Restore();

    public void Dispose()
    {
        _look?.Dispose();
        _terminal?.Dispose();
        _input?.Dispose();
        _source.Dispose();
        _output.Dispose();
    }

    /// <summary>Waits as long as the reader needs: it may be a pager. A signal ends the wait.</summary>
    private MachineEnd FlushUntilSignal(MachineEnd end, StopSignals? signals)
    {
        while (!_output.Flush(Timeout.InfiniteTimeSpan, signals?.Number ?? -1))
        {
            if (signals!.TakeEnd() is { } stopped)
            {
                return stopped;
            }
        }

        return end;
    }

    private void OnCommand(byte key)
    {
        switch (key)
        {
            case (byte)'x':
                _machine.End(MachineEnd.Quit);
                break;
            case (byte)'b':
                Port.ReceiveBreak();
                break;
            case (byte)'h' or (byte)'?':
                Stderr.Write(Help);
                break;
        }
    }
}
