using Vmm.Devices.Bus;
using Vmm.Devices.Pci;
using Vmm.Devices.State;
using Vmm.Devices.Tests.Pci;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Transport;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A driver that finds its registers as Linux's does: capabilities, BAR, MSI-X.</summary>
internal sealed class TestTransportPci : TestTransport
{
    public const int Slot = 3;
    public const uint WindowAddress = 0xc000_0000;

    private readonly TestRig _rig;
    private readonly ulong _common, _notify, _isr, _config;
    private readonly uint _notifyMultiplier;

    public TestTransportPci(TestRig rig, VirtioDevice device)
    {
        _rig = rig;
        Vectors = [.. Enumerable.Range(0, device.QueueSizes.Length + 1).Select(_ => new CountingVector(rig))];
        Function = new VirtioPciTransport(device, rig.Memory, Vectors, Pin, 10, rig, rig);
        Pci.Bus.Add(Slot, Function);
        Pci.Bus.AssignBars(WindowAddress, 0x100_0000);
        Pci.Write(Slot, 4, 0x0006, 2);
        uint pointer = Pci.Read(Slot, 0x34, 1);
        while (pointer != 0)
        {
            int at = (int)pointer;
            ulong start = WindowAddress + Pci.Read(Slot, at + 8);
            switch ((Pci.Read(Slot, at, 1), Pci.Read(Slot, at + 3, 1)))
            {
                case (0x09, 1):
                    _common = start;
                    break;
                case (0x09, 2):
                    _notify = start;
                    _notifyMultiplier = Pci.Read(Slot, at + 16);
                    break;
                case (0x09, 3):
                    _isr = start;
                    break;
                case (0x09, 4):
                    _config = start;
                    break;
                case (0x09, 5):
                    PciCfg = at;
                    break;
                case (0x11, _):
                    MsixCapability = at;
                    break;
            }

            pointer = Pci.Read(Slot, at + 1, 1);
        }

        EnableMsix();
    }

    public TestPci Pci { get; } = new();

    public VirtioPciTransport Function { get; }

    public CountingVector[] Vectors { get; }

    public Legacy.RecordingLine Pin { get; } = new();

    public bool UsesMsix { get; private set; }

    public int MsixCapability { get; }

    public int PciCfg { get; }

    public override ISavedState State => Pci.Bus;

    public override uint DeviceId => Pci.Read(Slot, 2, 2) - 0x1040;

    public override uint Status
    {
        get => Read(20, 1);
        set => Write(20, value, 1);
    }

    public override ulong DeviceFeatures
    {
        get
        {
            Write(0, 0);
            ulong low = Read(4);
            Write(0, 1);
            return low | ((ulong)Read(4) << 32);
        }
    }

    public override ulong DriverFeatures
    {
        get
        {
            Write(8, 0);
            ulong low = Read(12);
            Write(8, 1);
            return low | ((ulong)Read(12) << 32);
        }

        set
        {
            Write(8, 0);
            Write(12, (uint)value);
            Write(8, 1);
            Write(12, (uint)(value >> 32));
        }
    }

    public override uint ConfigGeneration => Read(21, 1);

    public override ulong RawLength => 0x4010;

    public void EnableMsix()
    {
        UsesMsix = true;
        Pci.Write(Slot, MsixCapability + 2, 0xc000, 2);
        ulong table = WindowAddress + (Pci.Read(Slot, MsixCapability + 4) & ~7u);
        for (uint i = 0; i < Vectors.Length; i++)
        {
            WriteMemory(table + (i * 16), 0xfee0_0000, 4);
            WriteMemory(table + (i * 16) + 4, 0, 4);
            WriteMemory(table + (i * 16) + 8, 0x40 + i, 4);
            WriteMemory(table + (i * 16) + 12, 0, 4);
        }

        Pci.Write(Slot, MsixCapability + 2, 0x8000, 2);
    }

    public void DisableMsix()
    {
        UsesMsix = false;
        Pci.Write(Slot, MsixCapability + 2, 0, 2);
    }

    public override uint QueueMaxSize(int queue)
    {
        Write(22, (uint)queue, 2);
        return Read(24, 2);
    }

    public override void SetQueue(int queue, uint size, ulong descriptors, ulong driver, ulong device)
    {
        Write(22, (uint)queue, 2);
        Write(24, size, 2);
        Write(32, (uint)descriptors);
        Write(36, (uint)(descriptors >> 32));
        Write(40, (uint)driver);
        Write(44, (uint)(driver >> 32));
        Write(48, (uint)device);
        Write(52, (uint)(device >> 32));
        if (UsesMsix)
        {
            Write(16, 0, 2);
            Write(26, (uint)queue + 1, 2);
            Assert.Equal(0u, Read(16, 2));
            Assert.Equal(queue + 1 < Vectors.Length ? (uint)queue + 1 : 0xffff, Read(26, 2));
        }
    }

    public override void EnableQueue(int queue)
    {
        Write(22, (uint)queue, 2);
        Write(28, 1, 2);
    }

    public override bool IsQueueEnabled(int queue)
    {
        Write(22, (uint)queue, 2);
        return Read(28, 2) == 1;
    }

    public override void ResetQueue(int queue)
    {
        Write(22, (uint)queue, 2);
        Write(58, 1, 2);
    }

    public override bool IsQueueResetting(int queue)
    {
        Write(22, (uint)queue, 2);
        return Read(58, 2) == 1;
    }

    public override void Notify(uint queue)
    {
        bool exists = QueueMaxSize((int)queue) != 0;
        uint offset = (exists ? Read(30, 2) : queue) * _notifyMultiplier;
        WriteMemory(_notify + offset, queue, 2);
    }

    public override uint TakeInterrupts()
    {
        uint reasons = ReadMemory(_isr, 1);
        for (int i = 0; i < Vectors.Length; i++)
        {
            reasons |= Vectors[i].Take() ? i == 0 ? 2u : 1u : 0;
        }

        return reasons;
    }

    public override void ReadConfig(ulong offset, Span<byte> data) => Pci.Memory.Read(_config + offset, data);

    public override void WriteConfig(ulong offset, ReadOnlySpan<byte> data) => Pci.Memory.Write(_config + offset, data);

    public override void Raw(ulong offset, Span<byte> data, bool write)
    {
        if (write)
        {
            Function.Write(offset, data);
        }
        else
        {
            data.Fill(0xff);
            Function.Read(offset, data);
        }
    }

    public uint Read(ulong offset, int width = 4) => ReadMemory(_common + offset, width);

    public void Write(ulong offset, uint value, int width = 4) => WriteMemory(_common + offset, value, width);

    public uint ReadMemory(ulong address, int width)
    {
        Span<byte> data = stackalloc byte[4];
        data.Clear();
        Pci.Memory.Read(address, data[..width]);
        return BitConverter.ToUInt32(data);
    }

    public void WriteMemory(ulong address, uint value, int width)
    {
        Span<byte> data = stackalloc byte[4];
        BitConverter.TryWriteBytes(data, value);
        Pci.Memory.Write(address, data[..width]);
    }

    public sealed class CountingVector(IInterruptTrigger all) : IMsiVector
    {
        private int _taken;

        public int Triggers { get; private set; }

        public void Update(ulong address, uint data, bool masked)
        {
        }

        public void Trigger()
        {
            Triggers++;
            all.Trigger();
        }

        public bool Take()
        {
            bool any = Triggers != _taken;
            _taken = Triggers;
            return any;
        }
    }
}
