namespace Vmm.Devices.Legacy;

/// <summary>Where a serial port sends its bytes.</summary>
public interface ISerialOutput
{
    /// <summary>Takes bytes that the guest sent, without waiting.</summary>
    /// <param name="bytes">1 to 1024 bytes.</param>
    /// <returns>How many were taken, from the front. Fewer than all of them means "full": the port keeps the rest
    /// and tells the guest to wait, until <see cref="Serial16550.OutputDrained"/> is called.</returns>
    /// <remarks>Called on a vCPU thread, or inside OutputDrained, while the port holds its own lock: do not call
    /// the port from here, and do not hold a lock that this method takes while calling the port.</remarks>
    int Write(ReadOnlySpan<byte> bytes);
}
