using Vmm.Devices.Bus;

namespace Vmm.Devices.Legacy;

/// <summary>Ports that guests use although no device is there: reads give ones, writes do nothing, and the statistics have a
/// name for them.</summary>
public sealed class NullPort(string name) : IBusDevice
{
    public string Name => name;

    /// <summary>Claims the ports that a PC's kernel accesses while it boots and that have no device in this machine.</summary>
    /// <param name="hasSecondSerial">COM2 is there.</param>
    public static void AddAll(AddressBus ports, bool hasSecondSerial = false)
    {
        if (!hasSecondSerial)
        {
            ports.Add(Serial16550.Com2Port, Serial16550.PortCount, new NullPort("COM2"));
        }

        ports.Add(0x80, 1, new NullPort("post"));           // POST codes; Linux's and others' delay of about 1 us
        ports.Add(0xed, 1, new NullPort("delay"));          // the same, io_delay=0xed
        ports.Add(0xf0, 2, new NullPort("fpu"));            // clear FPU busy, before CR0.NE
        ports.Add(0x3c0, 0x20, new NullPort("vga"));        // no display
        ports.Add(0x3e8, 8, new NullPort("COM3"));
        ports.Add(0x2e8, 8, new NullPort("COM4"));
    }

    public void Read(ulong offset, Span<byte> data)
    {
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
    }
}
