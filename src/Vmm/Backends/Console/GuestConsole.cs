using Vmm.Devices.Bus;
using Vmm.Devices.Legacy;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Backends.Console;

/// <summary>COM1 wired to standard input and output: a terminal in raw mode, or pipes and files.</summary>
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

    private readonly Machine _machine;
    private readonly Terminal? _terminal;
    private readonly ConsoleOutput _output;
    private readonly ConsoleInput _input;

    /// <param name="watch">Sees what the guest says.</param>
    /// <param name="tap">Sees it, too; null for nobody.</param>
    public GuestConsole(Machine machine, EventLoop loop, IInterruptLine interrupt, IConsoleTap watch, IConsoleTap? tap)
    {
        _machine = machine;
        _output = new ConsoleOutput(loop, StandardOutput);
        var watched = new TappedOutput(_output, watch);
        Port = new Serial16550("COM1", tap is null ? watched : new TappedOutput(watched, tap), interrupt);
        _output.Drained += Port.OutputDrained;
        _output.Broken += error => machine.End(MachineEnd.OutputClosed(error.Message));
        _terminal = Terminal.TryOpen(StandardInput);
        _input = new ConsoleInput(loop, StandardInput, _terminal is not null, Port, _output, OnCommand);
    }

    public Serial16550 Port { get; }

    public long BytesOut => _output.TotalBytes;

    public long BytesIn => _input.TotalBytes;

    /// <param name="unread">Standard input that a machine before this one read and its guest did not take.</param>
    public void Start(ReadOnlySpan<byte> unread)
    {
        _terminal?.EnterRaw();
        _input.Start(unread);
    }

    /// <summary>Standard input that was read and that the guest has not taken. The event loop has ended.</summary>
    public byte[] TakeUnread() => _input.TakeUnread();

    /// <summary>Writes what the guest said last and gives the terminal back. The event loop has ended.</summary>
    public void Finish()
    {
        _output.Flush();
        _terminal?.Restore();
    }

    /// <summary>Gives the terminal back whatever happened; for signals and exceptions.</summary>
    public void RestoreTerminal() => _terminal?.Restore();

    public void Dispose()
    {
        _terminal?.Dispose();
        _input.Dispose();
        _output.Dispose();
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
