using Vmm.Devices.Bus;
using Vmm.Devices.Pci;

namespace Vmm.Devices.Tests.Pci;

internal sealed class RecordingVector : IMsiVector
{
    public ulong Address { get; private set; }
    public uint Data { get; private set; }
    public bool Masked { get; private set; } = true;
    public int Updates { get; private set; }
    public int Triggers { get; private set; }
    public int WrongTriggers { get; private set; }

    public void Update(ulong address, uint data, bool masked)
    {
        (Address, Data, Masked) = (address, data, masked);
        Updates++;
    }

    public void Trigger()
    {
        Triggers++;
        WrongTriggers += Masked ? 1 : 0;
    }
}

/// <summary>Reads as one byte value and remembers the last write.</summary>
internal sealed class Window(string name, byte fill) : IBusDevice
{
    public string Name => name;
    public ulong LastWrite { get; private set; } = ulong.MaxValue;

    public void Read(ulong offset, Span<byte> data) => data.Fill(fill);
    public void Write(ulong offset, ReadOnlySpan<byte> data) => LastWrite = offset;
}

/// <summary>A function with a 32-bit window (BAR 0) and, if wanted, a 64-bit one (BAR 2).</summary>
internal sealed class TestFunction : PciFunction
{
    public TestFunction(string name, ulong size = 0x4000, ulong size64 = 0)
        : base(name, new PciIdentity(0x1234, 0x5678, 0x010203, 4, 0x9abc, 0xdef0))
    {
        Window = new Window(name, 0x11);
        Bar = AddBar(0, size, is64Bit: false, isPrefetchable: false, Window);
        if (size64 != 0)
        {
            Window64 = new Window(name + " 64", 0x22);
            Bar64 = AddBar(2, size64, is64Bit: true, isPrefetchable: true, Window64);
        }
    }

    public Window Window { get; }
    public Window? Window64 { get; }
    public PciBar Bar { get; }
    public PciBar? Bar64 { get; }
    public PciConfigSpace Space => Config;
}

/// <summary>A bus as the guest sees it: RAM below 1 GiB, ECAM at 0xb0000000, ports.</summary>
internal sealed class TestPci
{
    public const ulong EcamBase = 0xb000_0000, RamEnd = 0x4000_0000;

    public TestPci()
    {
        Bus = new PciBus(Memory, (start, length) => start >= RamEnd);
        Memory.Add(EcamBase, PciEcam.WindowLength, new PciEcam(Bus));
        new PciConfigPorts(Bus).AddTo(Ports);
    }

    public AddressBus Memory { get; } = new("mmio");
    public AddressBus Ports { get; } = new("port");
    public PciBus Bus { get; }

    public uint Read(int slot, int offset, int width = 4, int function = 0)
    {
        Span<byte> data = stackalloc byte[4];
        data.Clear();
        Memory.Read(EcamBase + (ulong)((slot << 15) | (function << 12) | offset), data[..width]);
        return BitConverter.ToUInt32(data);
    }

    public void Write(int slot, int offset, uint value, int width = 4)
    {
        Span<byte> data = stackalloc byte[4];
        BitConverter.TryWriteBytes(data, value);
        Memory.Write(EcamBase + (ulong)((slot << 15) | offset), data[..width]);
    }

    public uint ReadPort(ushort port, int width)
    {
        Span<byte> data = stackalloc byte[4];
        data.Clear();
        Ports.Read(port, data[..width]);
        return BitConverter.ToUInt32(data);
    }

    public void WritePort(ushort port, uint value, int width)
    {
        Span<byte> data = stackalloc byte[4];
        BitConverter.TryWriteBytes(data, value);
        Ports.Write(port, data[..width]);
    }

    public byte ReadMemory(ulong address)
    {
        Span<byte> data = [0];
        Memory.Read(address, data);
        return data[0];
    }
}
