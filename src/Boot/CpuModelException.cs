namespace Vmm.Boot;

/// <summary>What the user gave for <c>--cpu</c> cannot be had; the message is one line that says why and what to
/// write instead.</summary>
public sealed class CpuModelException(string message) : Exception(message);
