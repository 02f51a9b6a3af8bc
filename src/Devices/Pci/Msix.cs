using System.Buffers.Binary;
using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Pci;

/// <summary>The MSI-X capability of a function: its table, its pending bits, its masks (PCI Local Bus 3.0,
/// section 6.8.2).</summary>
/// <remarks>
/// <code>
/// entry    0 Message Address   8 Message Data   12 Vector Control (0 mask)
/// control  15 enable | 14 function mask | 10..0 table size - 1
/// </code>
/// Safe to use from any thread. A trigger and a change of masks exclude each other: once the guest's write that masks a vector
/// is done, that vector sends no interrupt.
/// </remarks>
public sealed partial class Msix : ISavedState
{
    /// <summary>Bytes of a table entry.</summary>
    public const int EntryLength = 16;

    /// <summary>The most vectors that a function can have here: a page of table.</summary>
    public const int MostVectors = 256;

    internal const byte CapabilityId = 0x11;
    internal const int CapabilityLength = 12;
    private const ushort ControlEnable = 0x8000, ControlFunctionMask = 0x4000;
    private const uint VectorMasked = 1;

    private readonly Lock _lock = new();
    private readonly IMsiVector[] _vectors;
    private readonly byte[] _table;
    private readonly byte[] _pending;
    private readonly Programmed[] _programmed;
    private volatile bool _enabled;
    private bool _functionMasked;

    /// <summary>What a vector was last programmed with.</summary>
    private record struct Programmed(ulong Address, uint Data, bool Unmasked);

    /// <param name="vectors">1 to 256, one for each entry of the table.</param>
    public Msix(params ReadOnlySpan<IMsiVector> vectors)
    {
        ArgumentOutOfRangeException.ThrowIfZero(vectors.Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vectors.Length, MostVectors);
        _vectors = vectors.ToArray();
        _programmed = new Programmed[vectors.Length];
        _table = new byte[vectors.Length * EntryLength];
        _pending = new byte[(vectors.Length + 63) / 64 * 8];
        for (int i = 0; i < vectors.Length; i++)
        {
            _table[(i * EntryLength) + 12] = (byte)VectorMasked;
        }
    }

    /// <summary>Vectors in the table.</summary>
    public int Count => _vectors.Length;

    /// <summary>The guest has turned MSI-X on: INTx is not used.</summary>
    public bool IsEnabled => _enabled;

    /// <summary>Interrupts the guest, now or when it unmasks the vector. A vector that does not exist, or any while
    /// MSI-X is off, is ignored.</summary>
    public void Trigger(int vector)
    {
        lock (_lock)
        {
            if (!_enabled || (uint)vector >= (uint)_vectors.Length)
            {
                return;
            }

            if (_programmed[vector].Unmasked)
            {
                _vectors[vector].Trigger();
            }
            else
            {
                _pending[vector / 8] |= (byte)(1 << (vector % 8));
            }
        }
    }

    /// <summary>The guest reads the table.</summary>
    /// <param name="offset">In bytes from its start. What lies behind its end reads as zero.</param>
    /// <param name="data">Any width.</param>
    public void ReadTable(ulong offset, Span<byte> data) => Read(_table, offset, data);

    /// <summary>The guest reads the pending bits.</summary>
    /// <inheritdoc cref="ReadTable"/>
    public void ReadPending(ulong offset, Span<byte> data) => Read(_pending, offset, data);

    /// <summary>The guest writes to the table.</summary>
    /// <inheritdoc cref="ReadTable"/>
    public void WriteTable(ulong offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            ulong length = (ulong)_table.Length;
            if (data.IsEmpty || offset >= length)
            {
                return;
            }

            int count = (int)Math.Min((ulong)data.Length, length - offset);
            data[..count].CopyTo(_table.AsSpan((int)offset));
            int last = ((int)offset + count - 1) / EntryLength;
            for (int vector = (int)offset / EntryLength; vector <= last; vector++)
            {
                Tell(vector);
            }
        }
    }

    internal static int AddCapability(PciConfigSpace config, int vectors, int bar, uint tableOffset, uint pendingOffset)
    {
        int start = config.AddCapability(CapabilityId, CapabilityLength);
        config.Set16(start + 2, (ushort)(vectors - 1));
        config.Allow16(start + 2, ControlEnable | ControlFunctionMask);
        config.Set32(start + 4, tableOffset | (uint)bar);
        config.Set32(start + 8, pendingOffset | (uint)bar);
        return start;
    }

    /// <summary>The guest wrote Message Control.</summary>
    internal void SetControl(ushort control)
    {
        lock (_lock)
        {
            bool enabled = (control & ControlEnable) != 0;
            bool masked = (control & ControlFunctionMask) != 0;
            if (enabled == _enabled && masked == _functionMasked)
            {
                return;
            }

            _enabled = enabled;
            _functionMasked = masked;
            if (!enabled)
            {
                _pending.AsSpan().Clear();          // pending bits do not outlive MSI-X being disabled
            }

            for (int vector = 0; vector < _vectors.Length; vector++)
            {
                Tell(vector);
            }
        }
    }

    private void Read(byte[] from, ulong offset, Span<byte> data)
    {
        data.Clear();
        lock (_lock)
        {
            if (offset < (ulong)from.Length)
            {
                int count = Math.Min(data.Length, from.Length - (int)offset);
                from.AsSpan((int)offset, count).CopyTo(data);
            }
        }
    }

    /// <summary>Updates a vector after a write of the guest, and sends its pending interrupt if it is unmasked.</summary>
    private void Tell(int vector)
    {
        ReadOnlySpan<byte> entry = _table.AsSpan(vector * EntryLength, EntryLength);
        ref Programmed told = ref _programmed[vector];
        bool unmasked = _enabled && !_functionMasked
            && (BinaryPrimitives.ReadUInt32LittleEndian(entry[12..]) & VectorMasked) == 0;
        Programmed now = unmasked
            ? new Programmed(BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]), true)
            : told with { Unmasked = false };
        if (now != told)
        {
            told = now;
            _vectors[vector].Update(now.Address, now.Data, !unmasked);
        }

        byte bit = (byte)(1 << (vector % 8));
        if (unmasked && (_pending[vector / 8] & bit) != 0)
        {
            _pending[vector / 8] &= (byte)~bit;
            _vectors[vector].Trigger();
        }
    }
}

/// <summary>A message-signalled interrupt on its way to the interrupt controller: on KVM an irqfd with a GSI of its own
/// and the route of that GSI.</summary>
/// <remarks>Calls come one at a time for a device, on any thread, with a lock held: do not call the device.
/// <see cref="IInterruptTrigger.Trigger"/> is called only after an update that said unmasked.</remarks>
public interface IMsiVector : IInterruptTrigger
{
    /// <summary>The guest changed where or whether the interrupt goes.</summary>
    /// <param name="address">Message address, 0xfeexxxxx for a message that means anything; the guest's, unchecked.</param>
    /// <param name="data">Message data; the guest's, unchecked.</param>
    /// <param name="masked">Nothing will be triggered until the next update; address and data are as they last were
    /// and the route may stay.</param>
    void Update(ulong address, uint data, bool masked);
}
