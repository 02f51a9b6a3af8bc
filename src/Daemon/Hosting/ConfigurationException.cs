namespace Vmm.Daemon.Hosting;

/// <summary>What is configured cannot be; the message is one line for who did it.</summary>
internal sealed class ConfigurationException(string message) : Exception(message);
