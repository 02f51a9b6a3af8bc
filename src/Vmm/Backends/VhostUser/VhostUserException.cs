namespace Vmm.Backends.VhostUser;

/// <summary>A back end does not do what the protocol says, or is gone. The message is a part of a line:
/// "it closed the connection".</summary>
internal sealed class VhostUserException(string message) : Exception(message);
