using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Pci;

/// <summary>A PCI device with one function: its configuration space and its windows.</summary>
/// <remarks>Everything protected, and what is about saved state, is called with the lock of <see cref="PciBus"/> held.</remarks>
public abstract class PciFunction(string name, PciIdentity identity) : ISavedState
{
    private readonly List<PciBar> _bars = [];

    /// <summary>The name in messages and statistics: <c>virtio-blk0</c>.</summary>
    public string Name { get; } = name;

    /// <summary>In order of their index.</summary>
    public IReadOnlyList<PciBar> Bars => _bars;

    protected PciConfigSpace Config { get; } = new(identity);

    /// <inheritdoc/>
    public virtual void Save(StateWriter state) => state.Write("config", Config);

    /// <inheritdoc/>
    /// <remarks>The windows are mapped once all functions are loaded (<see cref="PciBus"/>).</remarks>
    public virtual void Load(StateReader state) => state.Read("config", Config);

    /// <summary>Adds a window of <paramref name="size"/> bytes that <paramref name="target"/> answers in.</summary>
    protected PciBar AddBar(int index, ulong size, bool is64Bit, bool isPrefetchable, IBusDevice target)
    {
        var bar = new PciBar(Config, index, size, is64Bit, isPrefetchable, target);
        _bars.Add(bar);
        return bar;
    }

    /// <summary>The guest reads configuration space. <paramref name="data"/> lies within one function.</summary>
    protected internal virtual void ReadConfig(int offset, Span<byte> data) => Config.Read(offset, data);

    /// <summary>The guest writes to configuration space.</summary>
    protected internal virtual void WriteConfig(int offset, ReadOnlySpan<byte> data) => Config.Write(offset, data);
}

/// <summary>What identifies a function to drivers (PCI Local Bus 3.0, section 6.2.1).</summary>
/// <param name="Vendor">Vendor ID, assigned by the PCI-SIG.</param>
/// <param name="Device">Device ID, assigned by the vendor.</param>
/// <param name="Class">Class code: base class, subclass and interface in the low 24 bits.</param>
/// <param name="Revision">Revision ID.</param>
/// <param name="SubsystemVendor">Subsystem Vendor ID.</param>
/// <param name="Subsystem">Subsystem ID.</param>
public readonly record struct PciIdentity(
    ushort Vendor, ushort Device, uint Class, byte Revision, ushort SubsystemVendor, ushort Subsystem);
