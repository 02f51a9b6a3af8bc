namespace Vmm.Devices.Legacy;

/// <summary>Sees what the guest sends to its console.</summary>
public interface IConsoleTap
{
    /// <summary>The bytes that were taken, on a vCPU thread, one call after another.</summary>
    void Sent(ReadOnlySpan<byte> bytes);
}
