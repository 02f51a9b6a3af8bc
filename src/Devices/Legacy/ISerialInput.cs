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
