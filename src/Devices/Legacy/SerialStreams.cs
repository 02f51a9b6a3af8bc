namespace Vmm.Devices.Legacy;

/// <summary>A port of the guest's that takes bytes from the host.</summary>
public interface ISerialInput
{
    /// <summary>The port took fewer bytes than it was given and now takes more. On any thread, and it may hold a lock: wake the event
    /// loop, no more.</summary>
    event Action? InputSpaceAvailable;

    /// <summary>Bytes for the guest: takes as many as there is room for now, 0 while the guest is not listening. The caller keeps the
    /// rest until <see cref="InputSpaceAvailable"/>.</summary>
    int Receive(ReadOnlySpan<byte> bytes);
}

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

/// <summary>Sees what the guest sends to its console.</summary>
public interface IConsoleTap
{
    /// <summary>The bytes that were taken, on a vCPU thread, one call after another.</summary>
    void Sent(ReadOnlySpan<byte> bytes);
}
