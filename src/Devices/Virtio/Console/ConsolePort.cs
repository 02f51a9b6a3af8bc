using Vmm.Devices.Legacy;

namespace Vmm.Devices.Virtio.Console;

/// <summary>One port of a <see cref="VirtioConsole"/>: the host's end of it.</summary>
public sealed class ConsolePort : ISerialInput
{
    /// <summary>Bytes of a name at most.</summary>
    public const int MostNameBytes = 64;

    private readonly ISerialOutput _output;
    private VirtioConsole? _device;

    /// <param name="name">What the guest finds it by (/sys/class/virtio-ports/*/name): ASCII, up to <see cref="MostNameBytes"/>;
    /// empty for none.</param>
    /// <param name="output">Takes what the guest sends, on the event loop's thread.</param>
    /// <param name="isConsole">The guest gives it a terminal (hvc0). It counts as connected always.</param>
    public ConsolePort(string name, ISerialOutput output, bool isConsole = false)
    {
        if (name.Length > MostNameBytes || !System.Text.Ascii.IsValid(name))
        {
            throw new ArgumentException($"a port's name is ASCII, up to {MostNameBytes} characters", nameof(name));
        }

        (Name, _output, IsConsole) = (name, output, isConsole);
        IsConnected = isConsole;
    }

    /// <inheritdoc/>
    public event Action? InputSpaceAvailable;

    public string Name { get; }

    public bool IsConsole { get; }

    /// <summary>Its number in the device.</summary>
    internal int Number { get; private set; }

    // The properties below are guarded by the device's gate.

    /// <summary>The guest's driver has made it ready.</summary>
    internal bool IsReady { get; set; }

    /// <summary>A program in the guest has it open.</summary>
    internal bool IsGuestOpen { get; set; }

    /// <summary>A program on the host is connected to it.</summary>
    internal bool IsConnected { get; set; }

    /// <summary>The guest was told that it is connected.</summary>
    internal bool HasSentConnected { get; set; }

    /// <summary>Messages that the guest is to get.</summary>
    internal PortMessages Pending { get; set; }

    /// <summary>Bytes of the buffer in front of the transmit queue that are sent already.</summary>
    internal ulong Sent { get; set; }

    /// <summary>The host has bytes for which the guest had no buffer.</summary>
    internal bool IsShort { get; set; }

    /// <summary>The output is full; <see cref="OutputDrained"/> will be called.</summary>
    internal bool IsOutputFull { get; set; }

    /// <inheritdoc/>
    public int Receive(ReadOnlySpan<byte> bytes)
    {
        if (_device is null)
        {
            IsShort = true;
            return 0;
        }

        return _device.Receive(this, bytes);
    }

    /// <summary>The output takes bytes again after it was full. Any thread.</summary>
    public void OutputDrained() => _device?.OutputDrained(this);

    /// <summary>A program on the host connected or disconnected. Any thread.</summary>
    public void SetConnected(bool connected) => _device?.SetConnected(this, connected);

    internal void Attach(VirtioConsole device, int number) => (_device, Number) = (device, number);

    internal int Write(ReadOnlySpan<byte> bytes) => _output.Write(bytes);

    /// <summary>There are buffers again.</summary>
    internal void Wake()
    {
        if (IsShort)
        {
            IsShort = false;
            InputSpaceAvailable?.Invoke();
        }
    }

    /// <summary>Back to the state before a driver starts.</summary>
    internal void Reset()
    {
        IsReady = IsGuestOpen = HasSentConnected = IsOutputFull = false;
        Pending = PortMessages.None;
        Sent = 0;
    }
}

/// <summary>Messages about a port, sent in this order.</summary>
[Flags]
internal enum PortMessages
{
    None = 0,
    Add = 1,
    Console = 2,
    Name = 4,
    Open = 8,
    Resize = 16,
    All = 31,
}
