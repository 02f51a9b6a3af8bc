namespace Vmm.Host;

/// <summary>This host cannot do what was asked (no /dev/kvm, no memory, a missing capability). The message is one line
/// and says what to do.</summary>
internal sealed class HostException(string message) : Exception(message);
