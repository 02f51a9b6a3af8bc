using Vmm.Devices.Bus;

namespace Vmm.Bench.Operations;

/// <summary>A device that takes all and answers ones.</summary>
internal sealed class Sink : IBusDevice
{
    public string Name => "sink";

    public void Read(ulong offset, Span<byte> data)
    {
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
    }
}
