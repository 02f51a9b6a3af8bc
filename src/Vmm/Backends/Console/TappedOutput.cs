using Vmm.Devices.Legacy;

namespace Vmm.Backends.Console;

/// <summary>Passes the console's output to a tap as well.</summary>
internal sealed class TappedOutput(ISerialOutput output, IConsoleTap tap) : ISerialOutput
{
    public int Write(ReadOnlySpan<byte> bytes)
    {
        int taken = output.Write(bytes);
        tap.Sent(bytes[..taken]);
        return taken;
    }
}

/// <summary>Passes the console's output to two taps.</summary>
internal sealed class ConsoleTaps(IConsoleTap first, IConsoleTap second) : IConsoleTap
{
    public void Sent(ReadOnlySpan<byte> bytes)
    {
        first.Sent(bytes);
        second.Sent(bytes);
    }
}
