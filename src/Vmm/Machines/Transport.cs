namespace Vmm.Machines;

/// <summary>How virtio devices are shown to the guest: <c>--transport</c>.</summary>
internal enum Transport
{
    Pci,
    Mmio,
}
