namespace Vmm.Devices.State;

/// <summary>A saved state cannot be loaded.</summary>
/// <param name="field">Where, from the outside to the inside: <c>pci.slot3.common.queues[1].size</c>.</param>
/// <param name="problem">What is wrong with the field.</param>
public sealed class StateException(string field, string problem) : Exception($"{field}: {problem}")
{
    /// <summary>Where, from the outside to the inside.</summary>
    public string Field { get; } = field;
}
