using Vmm.Host;

namespace Vmm.Machines;

/// <summary>The state that a new machine continues with: after a reset (--on-reboot restart) what a PC keeps over one, for a restored
/// machine its saved overlays. Everything else is made again.</summary>
internal sealed class CarriedState : IDisposable
{
    /// <summary>Ephemeral overlays by number of the disk: the guest finds what it wrote.</summary>
    public Dictionary<int, FileDescriptor> Overlays { get; } = [];

    /// <summary>Standard input that was read and that the guest has not taken.</summary>
    public byte[] Input { get; set; } = [];

    /// <summary>Removes and returns an overlay.</summary>
    public FileDescriptor? TakeOverlay(int disk) => Overlays.Remove(disk, out FileDescriptor? overlay) ? overlay : null;

    public void Dispose()
    {
        foreach (FileDescriptor overlay in Overlays.Values)
        {
            overlay.Dispose();
        }
    }
}
