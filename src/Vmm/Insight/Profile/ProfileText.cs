using System.Globalization;
using System.Text;
using Vmm.Assist;
using Vmm.Text;

namespace Vmm.Insight.Profile;

/// <summary>A profile as a table for people.</summary>
internal static class ProfileText
{
    private static readonly CultureInfo Culture = CultureInfo.InvariantCulture;

    public static string Format(ExitProfile profile)
    {
        var text = new StringBuilder();
        long time = profile.InKvm + profile.InVmm;
        double part = time == 0 ? 0 : 100.0 * profile.InVmm / time;
        string vcpus = profile.Vcpus == 1 ? "1 vCPU" : $"{profile.Vcpus} vCPUs";
        text.Append(Culture, $"{Count(profile.Exits)} exits of {vcpus} in {Duration.Format(profile.Wall.Ticks * 100)}: ")
            .Append(Culture, $"{Duration.Format(profile.InKvm)} in KVM_RUN (guest and kernel), ")
            .Append(Culture, $"{Duration.Format(profile.InVmm)} in vmm ({part:0.00} %)\n");
        Groups(text, "reason", profile.ByReason);
        Groups(text, "device", profile.ByDevice);

        text.Append('\n');
        var table = new TextTable(
            "exits", "<reason", "<device", "<register", "<access", "in vmm", "min", "median", "99%", "99.9%", "max",
            "in KVM_RUN", "median");
        foreach (ExitRow line in profile.Lines)
        {
            LatencyHistogram vmm = line.InVmm;
            table.Add(
                Count(vmm.Count), line.Name.Reason, line.Name.Device, line.Name.What, line.Name.Access,
                Duration.Format(vmm.Sum), Duration.Format(vmm.Minimum), Duration.Format(vmm.Quantile(0.5)),
                Duration.Format(vmm.Quantile(0.99)), Duration.Format(vmm.Quantile(0.999)), Duration.Format(vmm.Maximum),
                Duration.Format(line.InKvm.Sum), Duration.Format(line.InKvm.Quantile(0.5)));
        }

        table.WriteTo(text);
        Comparisons(text, profile.Comparisons);
        return text.ToString();
    }

    private static void Groups(StringBuilder text, string title, IEnumerable<ProfileGroup> groups)
    {
        text.Append('\n');
        var table = new TextTable("exits", "<" + title, "in vmm", "in KVM_RUN");
        foreach (ProfileGroup group in groups)
        {
            table.Add(Count(group.Exits), group.Name, Duration.Format(group.InVmm), Duration.Format(group.InKvm));
        }

        table.WriteTo(text);
    }

    private static void Comparisons(StringBuilder text, IReadOnlyList<KvmComparison> comparisons)
    {
        if (comparisons.Count == 0)
        {
            text.Append("\nKVM on this host keeps no statistics to compare with.\n");
            return;
        }

        text.Append('\n');
        var table = new TextTable("<KVM's counter", "KVM says", "vmm saw", "<of", "<");
        foreach (KvmComparison line in comparisons)
        {
            table.Add(
                line.Counter, line.Kvm.ToString("N0", Culture), Count(line.Vmm), line.What,
                (line.Relation, line.Agrees) switch
                {
                    (_, false) => "DIFFERS",
                    (KvmRelation.Same, _) => "agrees",
                    (KvmRelation.AtLeast, _) => "agrees: KVM counts also what it handled itself",
                    _ => "not the same thing",
                });
        }

        table.WriteTo(text);
    }

    private static string Count(long count) => count.ToString("N0", Culture);
}
