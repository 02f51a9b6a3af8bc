using Vmm.Devices.Bus;

namespace Vmm.Devices.Legacy;

/// <summary>Port 0xf4: a byte written there ends the VM with that code. For test guests.</summary>
public sealed class DebugExit(IPowerControl power) : IBusDevice
{
    public const ushort Port = 0xf4;

    public string Name => "exit";

    public void Read(ulong offset, Span<byte> data)
    {
    }

    /// <summary>A wider write gives its low byte.</summary>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset == 0 && !data.IsEmpty)
        {
            power.RequestExit(data[0]);
        }
    }

    public string? RegisterName(ulong offset, bool write) => "ExitCode";
}
