using Vmm.Devices.Legacy;

namespace Vmm.Backends.Console;

/// <summary>Passes the console's output to two taps.</summary>
internal sealed class ConsoleTaps(IConsoleTap first, IConsoleTap second) : IConsoleTap
{
    public void Sent(ReadOnlySpan<byte> bytes)
    {
        first.Sent(bytes);
        second.Sent(bytes);
    }
}
