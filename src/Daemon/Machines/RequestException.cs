namespace Vmm.Daemon.Machines;

/// <summary>A body with something in it that cannot be.</summary>
/// <param name="faults">By field, as <c>disks[0].path</c>.</param>
internal sealed class RequestException(IDictionary<string, string[]> faults) : Exception("the request has faults")
{
    public IDictionary<string, string[]> Faults { get; } = faults;
}
