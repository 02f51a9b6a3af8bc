namespace Vmm.Devices.Virtio;

/// <summary>Where random bytes come from (getrandom).</summary>
public interface IEntropySource
{
    /// <summary>Fills all of it, without blocking once the host has booted.</summary>
    void Fill(Span<byte> destination);
}
