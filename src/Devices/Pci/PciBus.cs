using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Pci;

/// <summary>Bus 0: up to 32 devices, their configuration and their windows in memory space.</summary>
/// <remarks>Safe to use from any thread; configuration accesses take one lock, accesses to the windows none.</remarks>
public sealed class PciBus : ISavedState
{
    /// <summary>Devices on a bus.</summary>
    public const int SlotCount = 32;

    private readonly Lock _lock = new();
    private readonly AddressBus _memory;
    private readonly Func<ulong, ulong, bool> _isFree;
    private readonly PciFunction?[] _functions = new PciFunction?[SlotCount];

    /// <param name="memory">Where the windows (BARs) appear.</param>
    /// <param name="isFree">Given a start and a length that do not wrap: may a window lie there, as far as RAM and what
    /// is not on <paramref name="memory"/> are concerned? Overlaps with other windows are checked here.</param>
    public PciBus(AddressBus memory, Func<ulong, ulong, bool> isFree)
    {
        _memory = memory;
        _isFree = isFree;
        Add(0, new PciHostBridge());
    }

    /// <summary>Plugs a device in, before the guest runs.</summary>
    /// <param name="slot">The device number, 1 to 31 (0 is the host bridge).</param>
    /// <param name="function">Answers as function 0.</param>
    /// <exception cref="ArgumentException">The slot does not exist or is taken.</exception>
    public void Add(int slot, PciFunction function)
    {
        lock (_lock)
        {
            if (slot is < 0 or >= SlotCount || _functions[slot] is not null)
            {
                throw new ArgumentException($"{function.Name}: there is no free PCI slot {slot} (1 to 31)");
            }

            _functions[slot] = function;
        }
    }

    /// <summary>Does what firmware does: gives every window a place, so that the guest finds that done. It answers there
    /// once the guest turns memory decoding on; were it on already, Linux would turn it off and on again for each of
    /// seven registers that it sizes, and the window, with its ioeventfds, would come and go as often. Windows of 32 bits come
    /// first, then those of 64, by slot and index, each aligned to its size.</summary>
    /// <param name="start">First address to use, below 4 GiB for windows of 32 bits.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="InvalidOperationException">They do not fit.</exception>
    public void AssignBars(ulong start, ulong length)
    {
        lock (_lock)
        {
            ulong next = start, end = checked(start + length);
            foreach (bool wide in (ReadOnlySpan<bool>)[false, true])
            {
                foreach (PciFunction? function in _functions)
                {
                    foreach (PciBar bar in (function?.Bars ?? []).Where(bar => bar.Is64Bit == wide))
                    {
                        ulong address = checked(next + bar.Size - 1) & ~(bar.Size - 1);
                        if (address > end || bar.Size > end - address || (!wide && address > uint.MaxValue))
                        {
                            throw new InvalidOperationException(
                                $"{function!.Name}: no room for BAR {bar.Index} in 0x{start:x}+0x{length:x}");
                        }

                        bar.Address = address;
                        next = address + bar.Size;
                    }
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        lock (_lock)
        {
            state.Version(1);
            for (int slot = 0; slot < SlotCount; slot++)
            {
                if (_functions[slot] is { } function)
                {
                    state.Write(SlotName(slot), function);
                }
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>Windows are mapped where the guest had put them.</remarks>
    public void Load(StateReader state)
    {
        lock (_lock)
        {
            state.Version(1);
            for (int slot = 0; slot < SlotCount; slot++)
            {
                if (_functions[slot] is { } function)
                {
                    state.Read(SlotName(slot), function);
                }
                else if (state.Has(SlotName(slot)))
                {
                    throw state.Refuse(SlotName(slot), "is a device that this machine does not have");
                }
            }

            PlaceBars();
        }
    }

    /// <summary>A read of configuration space; without a device there, all ones.</summary>
    /// <param name="bus">Any; only 0 exists.</param>
    /// <param name="deviceFunction">Device number shifted left by 3, plus function number.</param>
    /// <param name="offset">0 to 4095.</param>
    /// <param name="data">1 to 8 bytes; what lies behind the end of the function's space reads as ones.</param>
    internal void ReadConfig(uint bus, uint deviceFunction, int offset, Span<byte> data)
    {
        data.Fill(0xff);
        if (Find(bus, deviceFunction) is { } function)
        {
            lock (_lock)
            {
                function.ReadConfig(offset, data);
            }
        }
    }

    /// <summary>A write to configuration space.</summary>
    /// <inheritdoc cref="ReadConfig"/>
    internal void WriteConfig(uint bus, uint deviceFunction, int offset, ReadOnlySpan<byte> data)
    {
        if (Find(bus, deviceFunction) is { } function)
        {
            lock (_lock)
            {
                function.WriteConfig(offset, data);
                if (offset < PciConfigSpace.HeaderEnd)
                {
                    PlaceBars();
                }
            }
        }
    }

    private static string SlotName(int slot) => $"slot{slot}";

    private PciFunction? Find(uint bus, uint deviceFunction) =>
        bus == 0 && (deviceFunction & 7) == 0 && deviceFunction >> 3 < SlotCount
            ? Volatile.Read(ref _functions[deviceFunction >> 3])
            : null;

    /// <summary>First all windows that moved are unmapped, then each is mapped at its new address: two windows can swap
    /// addresses.</summary>
    private void PlaceBars()
    {
        foreach (PciFunction? function in _functions)
        {
            for (int i = 0; i < function?.Bars.Count; i++)
            {
                function.Bars[i].Unmap(_memory);
            }
        }

        foreach (PciFunction? function in _functions)
        {
            for (int i = 0; i < function?.Bars.Count; i++)
            {
                function.Bars[i].Map(_memory, _isFree);
            }
        }
    }
}

/// <summary>Device 0 of bus 0: what tells a guest that there is a PCI bus. It has no registers of its own.</summary>
/// <remarks>1b36:0008 is the host bridge that Red Hat assigned for virtual machines without a chipset of a model's own.
/// Linux has neither a driver nor a quirk for it, whereas for Intel's 8086:1237 (440FX) it goes through the 440FX
/// errata, and for 8086:29c0 (Q35) it looks for that chipset's registers (ECAM base, TSEG).</remarks>
public sealed class PciHostBridge() : PciFunction(
    "host bridge",
    new PciIdentity(Vendor: 0x1b36, Device: 0x0008, Class: 0x060000, Revision: 0, SubsystemVendor: 0x1af4, Subsystem: 0x1100));
