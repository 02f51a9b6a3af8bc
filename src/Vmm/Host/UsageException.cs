namespace Vmm.Host;

/// <summary>What the user gave is wrong. The message is one line and says what to do.</summary>
internal sealed class UsageException(string message) : Exception(message);
