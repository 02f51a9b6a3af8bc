using Vmm.Devices.State;
using Vmm.Devices.Virtio.Transport;

namespace Vmm.Devices.Tests.Virtio;

internal sealed class TestTransportMmio(VirtioMmioTransport registers) : TestTransport
{
    public VirtioMmioTransport Registers => registers;

    public override ISavedState State => registers;

    public override uint DeviceId => Read(0x008);

    public override uint Status
    {
        get => Read(0x070);
        set => Write(0x070, value);
    }

    public override ulong DeviceFeatures
    {
        get
        {
            Write(0x014, 0);
            ulong low = Read(0x010);
            Write(0x014, 1);
            return low | ((ulong)Read(0x010) << 32);
        }
    }

    public override ulong DriverFeatures
    {
        get => throw new NotSupportedException("write-only over mmio");
        set
        {
            Write(0x024, 0);
            Write(0x020, (uint)value);
            Write(0x024, 1);
            Write(0x020, (uint)(value >> 32));
        }
    }

    public override uint ConfigGeneration => Read(0x0fc);

    public override ulong RawLength => VirtioMmioTransport.WindowLength;

    public override uint QueueMaxSize(int queue)
    {
        Write(0x030, (uint)queue);
        return Read(0x034);
    }

    public override void SetQueue(int queue, uint size, ulong descriptors, ulong driver, ulong device)
    {
        Write(0x030, (uint)queue);
        Write(0x038, size);
        Write(0x080, (uint)descriptors);
        Write(0x084, (uint)(descriptors >> 32));
        Write(0x090, (uint)driver);
        Write(0x094, (uint)(driver >> 32));
        Write(0x0a0, (uint)device);
        Write(0x0a4, (uint)(device >> 32));
    }

    public override void EnableQueue(int queue)
    {
        Write(0x030, (uint)queue);
        Write(0x044, 1);
    }

    public override bool IsQueueEnabled(int queue)
    {
        Write(0x030, (uint)queue);
        return Read(0x044) == 1;
    }

    public override void ResetQueue(int queue)
    {
        Write(0x030, (uint)queue);
        Write(0x0c0, 1);
    }

    public override bool IsQueueResetting(int queue)
    {
        Write(0x030, (uint)queue);
        return Read(0x0c0) == 1;
    }

    public override void Notify(uint queue) => Write(0x050, queue);

    public override uint TakeInterrupts()
    {
        uint status = Read(0x060);
        Write(0x064, status);
        return status;
    }

    public override void ReadConfig(ulong offset, Span<byte> data) => Registers.Read(0x100 + offset, data);

    public override void WriteConfig(ulong offset, ReadOnlySpan<byte> data) => Registers.Write(0x100 + offset, data);

    public override void Raw(ulong offset, Span<byte> data, bool write)
    {
        if (write)
        {
            Registers.Write(offset, data);
        }
        else
        {
            data.Fill(0xff);
            Registers.Read(offset, data);
        }
    }

    public uint Read(ulong offset)
    {
        Span<byte> data = stackalloc byte[4];
        data.Fill(0xff);
        Registers.Read(offset, data);
        return BitConverter.ToUInt32(data);
    }

    public void Write(ulong offset, uint value) => Registers.Write(offset, BitConverter.GetBytes(value));
}
