using Vmm.Devices.Bus;

namespace Vmm.Devices.Legacy;

/// <summary>The port by which a guest's kernel tells that it panicked (QEMU's docs/specs/pvpanic, ISA device; Linux:
/// drivers/misc/pvpanic). A read gives the events that are supported; a write reports events.</summary>
/// <remarks>
/// <code>
/// 0 PVPANIC_PANICKED      a panic, for the host to deal with
/// 1 PVPANIC_CRASHLOADED   a panic, with which the guest's own crash kernel deals
/// 2 PVPANIC_SHUTDOWN      the guest has shut down in good order
/// </code>
/// </remarks>
public sealed class Pvpanic(IPowerControl power) : IBusDevice
{
    public const ushort Port = 0x505;

    /// <summary>For the DSDT.</summary>
    public const string AcpiId = "QEMU0001";

    private const byte Panicked = 1 << 0, CrashLoaded = 1 << 1, ShutDown = 1 << 2;

    public string Name => "pvpanic";

    public void Read(ulong offset, Span<byte> data)
    {
        if (offset == 0 && !data.IsEmpty)
        {
            data[0] = Panicked | CrashLoaded | ShutDown;
        }
    }

    /// <summary>Unknown bits are ignored. Of several events the worst counts.</summary>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.IsEmpty)
        {
            return;
        }

        byte events = data[0];
        if ((events & (Panicked | CrashLoaded)) != 0)
        {
            power.ReportPanic(handledByGuest: (events & Panicked) == 0);
        }
        else if ((events & ShutDown) != 0)
        {
            power.RequestPowerOff();
        }
    }

    public string? RegisterName(ulong offset, bool write) => "Events";
}
