using Vmm.Devices.Legacy;

namespace Vmm.Backends.Console;

/// <summary>An output that two ports write to, from threads of their own: one at a time.</summary>
internal sealed class LockedOutput(ISerialOutput output) : ISerialOutput
{
    private readonly Lock _lock = new();

    public int Write(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            return output.Write(bytes);
        }
    }
}
