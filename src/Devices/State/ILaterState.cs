namespace Vmm.Devices.State;

/// <summary>A part that older versions of vmm do not have, so that their saved states lack it.</summary>
public interface ILaterState : ISavedState
{
    /// <summary>The loaded state has no such part: the guest does not know the device, which has to stay without effect.</summary>
    void LoadNone();
}
