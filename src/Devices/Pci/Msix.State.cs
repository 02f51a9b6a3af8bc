using Vmm.Devices.State;

namespace Vmm.Devices.Pci;

/// <summary>What is saved of MSI-X: the table and the pending bits. Message Control is part of the configuration space;
/// the vectors' addresses and data follow from both.</summary>
public sealed partial class Msix
{
    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        lock (_lock)
        {
            state.Version(1);
            state.Write("table", _table);
            state.Write("pending", _pending);
        }
    }

    /// <inheritdoc/>
    /// <remarks><see cref="Restore"/> has to follow.</remarks>
    public void Load(StateReader state)
    {
        lock (_lock)
        {
            state.Version(1);
            byte[] table = state.Bytes("table", _table.Length, _table.Length);
            byte[] pending = state.Bytes("pending", _pending.Length, _pending.Length);
            for (int bit = _vectors.Length; bit < pending.Length * 8; bit++)
            {
                if ((pending[bit / 8] & (1 << (bit % 8))) != 0)
                {
                    throw state.Refuse("pending", $"has vector {bit}, of {_vectors.Length}");
                }
            }

            table.CopyTo(_table, 0);
            pending.CopyTo(_pending, 0);
        }
    }

    /// <summary>After <see cref="Load"/>: loads Message Control, programs the vectors, and sends the pending interrupts that
    /// are not masked.</summary>
    internal void Restore(ushort control)
    {
        lock (_lock)
        {
            _enabled = (control & ControlEnable) != 0;
            _functionMasked = (control & ControlFunctionMask) != 0;
            for (int vector = 0; vector < _vectors.Length; vector++)
            {
                Tell(vector);
            }
        }
    }
}
