namespace Vmm.Devices.State;

/// <summary>A part that machines of an older vmm do not have: what they saved lacks it.</summary>
public interface ILaterState : ISavedState
{
    /// <summary>What was saved has no such part: the guest does not know of it, and it stays without effect.</summary>
    void LoadNone();
}
