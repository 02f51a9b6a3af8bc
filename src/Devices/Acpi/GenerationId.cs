using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Devices.Virtio.Rng;

namespace Vmm.Devices.Acpi;

/// <summary>The VM generation ID ("Virtual Machine Generation ID", Microsoft, 2012): a random number in guest memory that changes
/// whenever a saved state is loaded, and an ACPI event that notifies the guest. Its kernel then reseeds its random generator, so
/// that two guests from one state do not generate the same numbers.</summary>
/// <remarks><see cref="Load"/> writes the new number. Memory and power-management registers must be loaded before.</remarks>
/// <param name="memory">The guest's memory.</param>
/// <param name="address">Where the number is: a multiple of 8, in memory that the guest's map calls reserved.</param>
/// <param name="random">The host's random numbers.</param>
/// <param name="power">Raises the ACPI event.</param>
public sealed class GenerationId(GuestMemory memory, GuestAddress address, IEntropySource random, PowerManagement power) : ILaterState
{
    /// <summary>The device's own id, which the specification leaves to each monitor.</summary>
    public const string AcpiId = "VMMG0001";

    /// <summary>The id by which drivers find it. Linux has always known this one, so Hyper-V's second id, VMGENCTR, is not needed
    /// (and ACPICA leaks some bytes for a list of ids).</summary>
    public const string CompatibleId = "VM_Gen_Counter";

    /// <summary>Bytes of the number.</summary>
    public const int Length = 16;

    private const ulong Alignment = 8;

    private GuestAddress? _address = address;

    /// <summary>Writes the first number, for a guest that is booted.</summary>
    public void Begin() => Write();

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("address", _address?.Value ?? 0);       // which is never 0
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);
        var at = new GuestAddress(state.UInt64("address"));
        if (at.Value == 0)
        {
            LoadNone();
            return;
        }

        if (at.Value % Alignment != 0 || !memory.Contains(at, Length))
        {
            throw state.Refuse("address", $"{at} is not that of {Length} bytes of memory on a boundary of {Alignment}");
        }

        _address = at;
        Write();
        power.NotifyNewGeneration();
    }

    /// <inheritdoc/>
    public void LoadNone() => _address = null;

    private void Write()
    {
        if (_address is { } at)
        {
            Span<byte> number = stackalloc byte[Length];
            random.Fill(number);
            memory.Write(at, number);
        }
    }
}
