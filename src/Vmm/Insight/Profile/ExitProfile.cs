namespace Vmm.Insight.Profile;

/// <summary>The exits of all vCPUs of a run, one line for each name, and what KVM counted of them.</summary>
internal sealed class ExitProfile
{
    /// <param name="vcpus">The rows of each vCPU.</param>
    /// <param name="kvm">KVM's own counters, summed over the vCPUs; empty where it has none.</param>
    /// <param name="wall">From the first KVM_RUN to the end.</param>
    public ExitProfile(IReadOnlyList<IReadOnlyList<ExitRow>> vcpus, IReadOnlyDictionary<string, ulong> kvm, TimeSpan wall)
    {
        Vcpus = vcpus.Count;
        Wall = wall;
        Kvm = kvm;
        var lines = new Dictionary<ExitName, ExitRow>();
        foreach (ExitRow row in vcpus.SelectMany(rows => rows))
        {
            if (!lines.TryGetValue(row.Name, out ExitRow? line))
            {
                lines.Add(row.Name, line = new ExitRow(row.Name));
            }

            line.InKvm.Add(row.InKvm);
            line.InVmm.Add(row.InVmm);
        }

        Lines = [.. lines.Values.OrderByDescending(line => line.InVmm.Count).ThenBy(line => line.Name.ToString(), StringComparer.Ordinal)];
        Comparisons = KvmComparison.Of(this);
    }

    public int Vcpus { get; }

    public TimeSpan Wall { get; }

    /// <summary>The commonest first.</summary>
    public IReadOnlyList<ExitRow> Lines { get; }

    public IReadOnlyDictionary<string, ulong> Kvm { get; }

    public IReadOnlyList<KvmComparison> Comparisons { get; }

    public long Exits => Lines.Sum(line => line.InVmm.Count);

    /// <summary>Nanoseconds in KVM_RUN, over all vCPUs.</summary>
    public long InKvm => Lines.Sum(line => line.InKvm.Sum);

    /// <summary>Nanoseconds in user space, over all vCPUs.</summary>
    public long InVmm => Lines.Sum(line => line.InVmm.Sum);

    public IEnumerable<ProfileGroup> ByReason => Group(line => line.Name.Reason);

    /// <summary>Only exits that are of a device.</summary>
    public IEnumerable<ProfileGroup> ByDevice => Group(line => line.Name.Device).Where(group => group.Name.Length != 0);

    private IEnumerable<ProfileGroup> Group(Func<ExitRow, string> by) => Lines
        .GroupBy(by)
        .Select(group => new ProfileGroup(
            group.Key,
            group.Sum(line => line.InVmm.Count),
            group.Sum(line => line.InVmm.Sum),
            group.Sum(line => line.InKvm.Sum)))
        .OrderByDescending(group => group.Exits);
}

/// <summary>Sums over several lines; times in nanoseconds.</summary>
internal sealed record ProfileGroup(string Name, long Exits, long InVmm, long InKvm);
