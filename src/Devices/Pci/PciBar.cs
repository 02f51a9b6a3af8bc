using System.Numerics;
using Vmm.Devices.Bus;

namespace Vmm.Devices.Pci;

/// <summary>A base address register for memory (PCI Local Bus 3.0, section 6.2.5.1): a window at an address that the guest
/// chooses.</summary>
/// <remarks>The guest learns the size by writing ones: the bits below it are fixed at zero. A window that the guest puts onto
/// RAM, another window or another device is not mapped until one of them moves.</remarks>
public sealed class PciBar
{
    /// <summary>The smallest window: a page, so that two never share one.</summary>
    public const ulong SmallestSize = 0x1000;

    private const uint Is64BitFlag = 0x4, PrefetchableFlag = 0x8, FlagBits = 0xf;

    private readonly PciConfigSpace _config;
    private readonly int _register;
    private readonly IBusDevice _target;
    private BusRange? _range;

    internal PciBar(PciConfigSpace config, int index, ulong size, bool is64Bit, bool isPrefetchable, IBusDevice target)
    {
        if (!BitOperations.IsPow2(size) || size < SmallestSize || (!is64Bit && size > 1UL << 31)
            || index < 0 || index > (is64Bit ? 4 : 5))
        {
            throw new ArgumentException($"{target.Name}: BAR {index} of 0x{size:x} bytes is not possible");
        }

        _config = config;
        _register = PciConfigSpace.FirstBar + (index * 4);
        _target = target;
        Index = index;
        Size = size;
        Is64Bit = is64Bit;
        config.Set32(_register, (is64Bit ? Is64BitFlag : 0) | (isPrefetchable ? PrefetchableFlag : 0));
        ulong mask = ~(size - 1);
        config.Allow32(_register, (uint)mask);
        if (is64Bit)
        {
            config.Allow32(_register + 4, (uint)(mask >> 32));
        }
    }

    /// <summary>0 to 5.</summary>
    public int Index { get; }

    /// <summary>Bytes, a power of two.</summary>
    public ulong Size { get; }

    /// <summary>Takes two registers and may lie above 4 GiB.</summary>
    public bool Is64Bit { get; }

    /// <summary>What the register holds, whether or not the window is mapped.</summary>
    public ulong Address
    {
        get => (_config.Get32(_register) & ~FlagBits) | (Is64Bit ? (ulong)_config.Get32(_register + 4) << 32 : 0);

        internal set
        {
            _config.Set32(_register, (uint)value | (_config.Get32(_register) & FlagBits));
            if (Is64Bit)
            {
                _config.Set32(_register + 4, (uint)(value >> 32));
            }
        }
    }

    /// <summary>Where the window is mapped; null while it is not.</summary>
    public ulong? MappedAt => Volatile.Read(ref _range)?.Start;

    /// <summary>Raised with the address before and after, on the vCPU thread that moved the window, in
    /// the middle of a configuration write. Do not access PCI configuration from here.</summary>
    public event Action<ulong?, ulong?>? Moved;

    internal bool IsDecoded => (_config.Get16(PciConfigSpace.Command) & PciConfigSpace.CommandMemory) != 0;

    /// <summary>Unmaps the window when the guest has moved it.</summary>
    internal void Unmap(AddressBus bus)
    {
        if (_range is not { } range || (IsDecoded && range.Start == Address))
        {
            return;
        }

        bus.Remove(range);
        Volatile.Write(ref _range, null);
        Moved?.Invoke(range.Start, null);
    }

    /// <summary>Maps the window at the guest's address, if that is free.</summary>
    internal void Map(AddressBus bus, Func<ulong, ulong, bool> isFree)
    {
        ulong address = Address;
        if (_range is not null || !IsDecoded || address == 0 || address > ulong.MaxValue - (Size - 1)
            || !isFree(address, Size) || bus.TryAdd(address, Size, _target) is not { } range)
        {
            return;
        }

        Volatile.Write(ref _range, range);
        Moved?.Invoke(null, address);
    }
}
