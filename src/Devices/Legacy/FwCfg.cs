using System.Buffers.Binary;
using System.Text;
using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>QEMU's firmware configuration device (docs/specs/fw_cfg), as much of it as test kernels written for QEMU
/// read: an item is chosen by writing its number to port 0x510, and its bytes are read one by one from port 0x511.
/// </summary>
/// <remarks>
/// <code>
/// 0x00 signature, "QEMU"              0x0f maximum of CPUs, 16 bits
/// 0x01 id: traditional interface, no DMA  0x14 bytes of the kernel's command line, 32 bits
/// 0x03 bytes of memory, 64 bits       0x15 the command line, with its terminating zero
/// 0x05 number of CPUs, 16 bits        0x19 directory of files: none
/// </code>
/// Numbers are little-endian. Behind an item's end, and where there is no such item, zeros are read. Nothing can be
/// written.
/// </remarks>
public sealed class FwCfg : IBusDevice, ISavedState
{
    public const ushort Port = 0x510;

    /// <summary>The selector and the data port. There is no DMA, which would take eight more.</summary>
    public const int PortCount = 2;

    /// <summary>For the DSDT.</summary>
    public const string AcpiId = "QEMU0002";

    private const ushort Signature = 0x00, Id = 0x01, RamSize = 0x03, CpuCount = 0x05, MaxCpus = 0x0f,
        CommandLineSize = 0x14, CommandLineData = 0x15;

    private const uint TraditionalInterface = 1 << 0;

    private readonly Lock _lock = new();
    private readonly byte[] _ramSize = new byte[sizeof(ulong)];
    private readonly byte[] _cpus = new byte[sizeof(ushort)];
    private readonly byte[] _lineSize = new byte[sizeof(uint)];
    private readonly byte[] _id = new byte[sizeof(uint)];
    private byte[] _line = [];
    private ushort _selected;
    private int _position;

    /// <param name="memory">Bytes.</param>
    /// <param name="cpus">All are there from the start.</param>
    public FwCfg(ulong memory, int cpus)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(_ramSize, memory);
        BinaryPrimitives.WriteUInt16LittleEndian(_cpus, (ushort)Math.Min(cpus, ushort.MaxValue));
        BinaryPrimitives.WriteUInt32LittleEndian(_id, TraditionalInterface);
    }

    public string Name => "fw_cfg";

    /// <summary>Gives it the command line that the kernel got. Before the guest runs.</summary>
    public void SetCommandLine(string line)
    {
        _line = Encoding.UTF8.GetBytes(line + '\0');
        BinaryPrimitives.WriteUInt32LittleEndian(_lineSize, (uint)_line.Length);
    }

    public void Read(ulong offset, Span<byte> data)
    {
        if (offset != 1 || data.IsEmpty)
        {
            return;
        }

        lock (_lock)
        {
            ReadOnlySpan<byte> item = Item(_selected);
            data[0] = _position < item.Length ? item[_position++] : (byte)0;
        }
    }

    /// <summary>Only 16 bits at once choose an item, as with QEMU.</summary>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.Length != sizeof(ushort))
        {
            return;
        }

        lock (_lock)
        {
            _selected = BinaryPrimitives.ReadUInt16LittleEndian(data);
            _position = 0;
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        lock (_lock)
        {
            state.Version(1);
            state.Write("selected", (uint)_selected);
            state.Write("position", _position);
        }
    }

    /// <inheritdoc/>
    /// <remarks>The items are the machine's own, made from the same options.</remarks>
    public void Load(StateReader state)
    {
        lock (_lock)
        {
            state.Version(1);
            _selected = state.UInt16("selected");
            _position = (int)state.UInt64("position", 0, (ulong)Item(_selected).Length);
        }
    }

    public string? RegisterName(ulong offset, bool write) => offset == 0 ? "Selector" : "Data";

    private ReadOnlySpan<byte> Item(ushort key) => key switch
    {
        Signature => "QEMU"u8,
        Id => _id,
        RamSize => _ramSize,
        CpuCount or MaxCpus => _cpus,
        CommandLineSize => _lineSize,
        CommandLineData => _line,
        _ => [],
    };
}
