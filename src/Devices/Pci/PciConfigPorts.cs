using System.Buffers.Binary;
using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Pci;

/// <summary>Configuration mechanism #1 (PCI Local Bus 3.0, section 3.2.2.3.2): an address at port 0xcf8, data at 0xcfc
/// to 0xcff.</summary>
/// <remarks>
/// <code>
/// CONFIG_ADDRESS   31 enable | 23..16 bus | 15..11 device | 10..8 function | 7..2 register
/// </code>
/// CONFIG_ADDRESS answers to 4-byte accesses only; others at the same ports are ordinary ports. That is how port
/// 0xcf9 can be the reset register (<see cref="Legacy.ResetPort"/>): each claims the port where its accesses start.
/// </remarks>
public sealed class PciConfigPorts(PciBus pci) : ISavedState
{
    public const ushort AddressPortNumber = 0xcf8, DataPortNumber = 0xcfc;

    private const uint Enable = 0x8000_0000, Kept = 0x80ff_fffc, Reserved = 0x7f00_0000;

    private volatile uint _address;

    /// <summary>Claims the ports; not 0xcf9.</summary>
    public void AddTo(AddressBus ports)
    {
        ports.Add(AddressPortNumber, 1, new AddressPort(this));
        ports.Add(0xcfa, 2, new Legacy.NullPort("PCI type 2"));     // Linux writes to 0xcfb to turn mechanism #2 off
        ports.Add(DataPortNumber, 4, new DataPort(this));
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("address", _address);
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);
        _address = state.UInt32("address");
    }

    private sealed class AddressPort(PciConfigPorts owner) : IBusDevice
    {
        public string Name => "PCI";

        public void Read(ulong offset, Span<byte> data)
        {
            if (offset == 0 && data.Length == 4)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(data, owner._address & Kept);
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (offset == 0 && data.Length == 4)
            {
                owner._address = BinaryPrimitives.ReadUInt32LittleEndian(data);
            }
        }

        public string? RegisterName(ulong offset, bool write) => "CONFIG_ADDRESS";
    }

    private sealed class DataPort(PciConfigPorts owner) : IBusDevice
    {
        public string Name => "PCI";

        public void Read(ulong offset, Span<byte> data)
        {
            if (Locate(offset, data.Length, out uint address, out int count))
            {
                owner.Pci.ReadConfig(Bus(address), DeviceFunction(address), Register(address, offset), data[..count]);
            }
        }

        public void Write(ulong offset, ReadOnlySpan<byte> data)
        {
            if (Locate(offset, data.Length, out uint address, out int count))
            {
                owner.Pci.WriteConfig(Bus(address), DeviceFunction(address), Register(address, offset), data[..count]);
            }
        }

        public string? RegisterName(ulong offset, bool write) => "CONFIG_DATA";

        /// <summary>An access does not reach past the four bytes of the register.</summary>
        private bool Locate(ulong offset, int length, out uint address, out int count)
        {
            address = owner._address;
            count = offset < 4 ? Math.Min(length, 4 - (int)offset) : 0;
            return count > 0 && (address & (Enable | Reserved)) == Enable;
        }

        private static uint Bus(uint address) => (address >> 16) & 0xff;

        private static uint DeviceFunction(uint address) => (address >> 8) & 0xff;

        private static int Register(uint address, ulong offset) => (int)(address & 0xfc) + (int)offset;
    }

    private PciBus Pci { get; } = pci;
}
