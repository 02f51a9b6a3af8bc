namespace Vmm.Devices.State;

/// <summary>A part of a machine whose state can be saved and taken over by a fresh one of the same kind.</summary>
/// <remarks>
/// The state is what a guest can see or has set, field by field; never a descriptor, an address of this process, or
/// what the host's side of a device is about. It is saved while the machine is held (no vCPU runs, no request is in
/// flight), and loaded into a part that was just made, from the same configuration, before its guest runs.
/// </remarks>
public interface ISavedState
{
    /// <summary>Writes the state, beginning with its version.</summary>
    void Save(StateWriter state);

    /// <summary>Takes a state over. It may come from anybody: each field is checked before it is used.</summary>
    /// <exception cref="StateException">A field is missing or cannot be. The part is of no use then.</exception>
    void Load(StateReader state);
}
