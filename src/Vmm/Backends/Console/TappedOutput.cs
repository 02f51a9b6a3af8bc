using Vmm.Devices.Legacy;

namespace Vmm.Backends.Console;

/// <summary>Shows a tap what goes to the console.</summary>
internal sealed class TappedOutput(ISerialOutput output, IConsoleTap tap) : ISerialOutput
{
    public int Write(ReadOnlySpan<byte> bytes)
    {
        int taken = output.Write(bytes);
        tap.Sent(bytes[..taken]);
        return taken;
    }
}
