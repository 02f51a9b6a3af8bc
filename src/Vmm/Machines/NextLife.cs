using Vmm.Host;

namespace Vmm.Machines;

/// <summary>What a machine leaves to the one that starts in its place (--on-reboot restart): what a power cycle would not
/// take from a real one either. All else is made anew.</summary>
internal sealed class NextLife : IDisposable
{
    /// <summary>Ephemeral overlays by number of the disk: the guest finds what it wrote.</summary>
    public Dictionary<int, FileDescriptor> Overlays { get; } = [];

    /// <summary>Standard input that was read and that the guest has not taken.</summary>
    public byte[] Input { get; set; } = [];

    /// <summary>Takes an overlay out.</summary>
    public FileDescriptor? TakeOverlay(int disk) => Overlays.Remove(disk, out FileDescriptor? overlay) ? overlay : null;

    public void Dispose()
    {
        foreach (FileDescriptor overlay in Overlays.Values)
        {
            overlay.Dispose();
        }
    }
}
