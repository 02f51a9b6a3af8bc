using System.Buffers.Binary;
using Vmm.Devices.State;

namespace Vmm.Devices.Pci;

/// <summary>The 256 bytes of configuration space of a function, with a type 0 header (PCI Local Bus 3.0, section 6.1)
/// and a list of capabilities. Each bit is either fixed or the guest's.</summary>
/// <remarks>
/// <code>
/// 00 Vendor  Device   04 Command  Status   08 Revision  Class   0c CacheLine Latency HeaderType BIST
/// 10 .. 24 BAR 0 .. 5                      2c Subsystem         34 Capabilities   3c Line Pin MinGnt MaxLat
/// </code>
/// Not thread-safe: <see cref="PciBus"/> guards it.
/// </remarks>
public sealed class PciConfigSpace : ISavedState
{
    /// <summary>Bytes. There is no extended space: nothing here is PCI Express, and it saves the guest the walk.</summary>
    public const int Length = 256;

    internal const int Command = 0x04, Status = 0x06, FirstBar = 0x10, CapabilitiesPointer = 0x34,
        InterruptLine = 0x3c, InterruptPin = 0x3d, HeaderEnd = 0x40;

    internal const ushort CommandMemory = 1 << 1, CommandBusMaster = 1 << 2, CommandParity = 1 << 6,
        CommandSystemError = 1 << 8, CommandInterruptDisable = 1 << 10;

    internal const ushort StatusInterrupt = 1 << 3, StatusCapabilities = 1 << 4;

    // What a function itself sets while it runs: Interrupt Status.
    private const int OwnOffset = Status;
    private const byte OwnBits = (byte)StatusInterrupt;

    private readonly byte[] _value = new byte[Length];
    private readonly byte[] _writable = new byte[Length];
    private int _lastCapability;
    private int _free = HeaderEnd;

    public PciConfigSpace(PciIdentity identity)
    {
        Set16(0x00, identity.Vendor);
        Set16(0x02, identity.Device);
        Set32(0x08, (identity.Class << 8) | identity.Revision);
        Set16(0x2c, identity.SubsystemVendor);
        Set16(0x2e, identity.Subsystem);
        Allow16(Command, CommandMemory | CommandBusMaster | CommandParity | CommandSystemError | CommandInterruptDisable);
        _writable[0x0c] = 0xff;                 // cache line size and interrupt line are notes that software keeps
        _writable[InterruptLine] = 0xff;
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("bytes", _value);
    }

    /// <inheritdoc/>
    /// <remarks>Bits that the guest cannot write must be the same here: otherwise the state is of another device.</remarks>
    public void Load(StateReader state)
    {
        state.Version(1);
        byte[] bytes = state.Bytes("bytes", Length, Length);
        for (int i = 0; i < Length; i++)
        {
            int own = i == OwnOffset ? OwnBits : 0;
            if (((bytes[i] ^ _value[i]) & ~(_writable[i] | own)) != 0)
            {
                throw state.Refuse("bytes", $"0x{i:x2} is 0x{bytes[i]:x2}, and 0x{_value[i]:x2} in this device, which a guest cannot change");
            }
        }

        bytes.CopyTo(_value, 0);
    }

    /// <summary>Appends a capability (section 6.7) and gives the offset of its first byte, the id.</summary>
    /// <param name="id">Capability ID.</param>
    /// <param name="length">Bytes with the two of the header; a capability starts on a multiple of 4.</param>
    /// <exception cref="ArgumentException">There is no room.</exception>
    public int AddCapability(byte id, int length)
    {
        int start = _free;
        if (length is < 2 or > Length || start > Length - length)
        {
            throw new ArgumentException($"PCI capability {id:x2} of {length} bytes does not fit at 0x{start:x2}");
        }

        _value[start] = id;
        _value[_lastCapability == 0 ? CapabilitiesPointer : _lastCapability + 1] = (byte)start;
        _lastCapability = start;
        _free = (start + length + 3) & ~3;
        Set16(Status, (ushort)(Get16(Status) | StatusCapabilities));
        return start;
    }

    public byte Get8(int offset) => _value[offset];

    public ushort Get16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(_value.AsSpan(offset));

    public uint Get32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_value.AsSpan(offset));

    public void Set8(int offset, byte value) => _value[offset] = value;

    public void Set16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(_value.AsSpan(offset), value);

    public void Set32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_value.AsSpan(offset), value);

    /// <summary>Lets the guest write the bits that are set in <paramref name="mask"/>.</summary>
    public void Allow16(int offset, ushort mask) =>
        BinaryPrimitives.WriteUInt16LittleEndian(_writable.AsSpan(offset), mask);

    /// <inheritdoc cref="Allow16"/>
    public void Allow32(int offset, uint mask) =>
        BinaryPrimitives.WriteUInt32LittleEndian(_writable.AsSpan(offset), mask);

    /// <summary>The guest reads; what lies beyond the end stays as it is in <paramref name="data"/>.</summary>
    public void Read(int offset, Span<byte> data)
    {
        if (offset < Length)
        {
            int count = Math.Min(data.Length, Length - offset);
            _value.AsSpan(offset, count).CopyTo(data);
        }
    }

    /// <summary>The guest writes.</summary>
    public void Write(int offset, ReadOnlySpan<byte> data)
    {
        for (int i = 0; i < data.Length && offset < Length - i; i++)
        {
            byte mask = _writable[offset + i];
            _value[offset + i] = (byte)((_value[offset + i] & ~mask) | (data[i] & mask));
        }
    }
}
