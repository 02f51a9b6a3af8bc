namespace Vmm.Devices.Virtio.Balloon;

/// <summary>Gives memory of the guest back to the host.</summary>
public interface IBalloonMemory
{
    /// <summary>The pages go back to the host now; what reads them later finds zeros. Called on the event loop's thread.</summary>
    /// <param name="address">Of this process, within one region of the guest's memory; a multiple of 4096.</param>
    /// <param name="length">Bytes; a multiple of 4096, at least that.</param>
    /// <returns>False when the host refused: the pages keep their content.</returns>
    bool Release(nint address, nuint length);
}
