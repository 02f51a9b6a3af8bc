namespace Vmm.Host;

/// <summary>This host cannot do what was asked (no /dev/kvm, no memory, a missing capability). The message is one line
/// and says what to do.</summary>
/// <param name="problem">What is wrong; with what to do where that is not said apart.</param>
/// <param name="remedy">What to do; null where the problem says it.</param>
internal sealed class HostException(string problem, string? remedy = null)
    : Exception(remedy is null ? problem : $"{problem}: {remedy}")
{
    public string Problem { get; } = problem;

    public string? Remedy { get; } = remedy;
}
