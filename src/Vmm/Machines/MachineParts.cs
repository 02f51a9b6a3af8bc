using Vmm.Devices.State;

namespace Vmm.Machines;

/// <summary>The state of a whole machine, without its memory and the host's side of its devices: each part under its name.
/// </summary>
/// <remarks>The kernel's interrupt controllers are loaded before the devices, which assert their lines and send pending
/// interrupts when they are loaded.</remarks>
internal sealed class MachineParts : ISavedState
{
    private readonly List<(string Name, ISavedState Part)> _parts = [];

    /// <summary>Adds a part.</summary>
    public T Add<T>(string name, T part)
        where T : ISavedState
    {
        _parts.Add((name, part));
        return part;
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        foreach ((string name, ISavedState part) in _parts)
        {
            state.Write(name, part);
        }
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);

        // Devices with an interrupt line come after the interrupt controllers.
        foreach ((string name, ISavedState part) in _parts.OrderBy(static part => part.Name == "vm" ? 0 : 1))
        {
            if (part is ILaterState later && !state.Has(name))
            {
                later.LoadNone();
            }
            else
            {
                state.Read(name, part);
            }
        }
    }
}
