using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Rng;
using Vmm.Host;

namespace Vmm.Machines.Slots;

/// <summary>The host's random numbers, getrandom(2), for the guest.</summary>
internal sealed class SystemEntropy : IEntropySource
{
    public void Fill(Span<byte> destination) => SystemRandom.Fill(destination);
}
