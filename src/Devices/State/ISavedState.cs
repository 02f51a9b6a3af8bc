namespace Vmm.Devices.State;

/// <summary>A part of a machine whose state can be saved, and loaded into a new part of the same kind.</summary>
/// <remarks>
/// The state is what a guest can see or has set, field by field; never a descriptor, an address of this process, or anything of
/// the host's side of a device. It is saved while the machine is quiesced (no vCPU runs, no request is in flight), and loaded into
/// a part that was just made, from the same configuration, before its guest runs.
/// </remarks>
public interface ISavedState
{
    /// <summary>Writes the state, beginning with its version.</summary>
    void Save(StateWriter state);

    /// <summary>Loads a state. It is not trusted: each field is checked before it is used.</summary>
    /// <exception cref="StateException">A field is missing or invalid. The part must not be used then.</exception>
    void Load(StateReader state);
}

/// <summary>A part that older versions of vmm do not have, so that their saved states lack it.</summary>
public interface ILaterState : ISavedState
{
    /// <summary>The loaded state has no such part: the guest does not know the device, which has to stay without effect.</summary>
    void LoadNone();
}

/// <summary>A saved state cannot be loaded.</summary>
/// <param name="field">Where, from the outside to the inside: <c>pci.slot3.common.queues[1].size</c>.</param>
/// <param name="problem">What is wrong with the field.</param>
public sealed class StateException(string field, string problem) : Exception($"{field}: {problem}")
{
    /// <summary>Where, from the outside to the inside.</summary>
    public string Field { get; } = field;
}
