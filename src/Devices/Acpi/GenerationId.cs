using Vmm.Devices.Memory;
using Vmm.Devices.State;
using Vmm.Devices.Virtio.Rng;

namespace Vmm.Devices.Acpi;

/// <summary>The VM generation ID ("Virtual Machine Generation ID", Microsoft, 2012): a random number in guest memory that is another
/// one whenever the guest goes on from a saved state, and an ACPI event that tells so. The guest's kernel then makes its random
/// numbers anew, so that two guests from one state do not have the same.</summary>
/// <remarks>Loading a state is what makes the number a new one, so that no way of going on can forget it. The memory is loaded before;
/// the power-management registers are, too.</remarks>
/// <param name="memory">The guest's.</param>
/// <param name="address">Where the number is: a multiple of 8, in memory that the guest's map calls reserved.</param>
/// <param name="random">Of the host.</param>
/// <param name="power">Raises the event.</param>
public sealed class GenerationId(GuestMemory memory, GuestAddress address, IEntropySource random, PowerManagement power) : ILaterState
{
    /// <summary>The device's own id, which the specification leaves to each monitor.</summary>
    public const string AcpiId = "VMMG0001";

    /// <summary>The id by which drivers find it. (A list with VMGENCTR, the shorter one that Hyper-V has beside it, is no help: Linux
    /// takes this one since it has the driver, and ACPICA loses some bytes of memory over a list.)</summary>
    public const string CompatibleId = "VM_Gen_Counter";

    /// <summary>Bytes of the number.</summary>
    public const int Length = 16;

    private const ulong Alignment = 8;

    private GuestAddress? _address = address;

    /// <summary>For a guest that starts, and is told of the number by its tables.</summary>
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
        power.TellNewGeneration();
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
