using System.Globalization;
using System.Text.RegularExpressions;

namespace Vmm.Guest.Tests.Harness;

/// <summary>What --stats printed.</summary>
internal static partial class Figures
{
    /// <summary>Accesses to the registers of virtio devices, which are exits to user space.</summary>
    public static long VirtioAccesses(string stats) => Lines()
        .Matches(stats)
        .Where(match => match.Groups["name"].Value.Contains("virtio", StringComparison.Ordinal))
        .Sum(match => long.Parse(match.Groups["count"].Value, CultureInfo.InvariantCulture));

    /// <summary>Accesses to the registers of one device.</summary>
    public static long Accesses(string stats, string device) => Lines()
        .Matches(stats)
        .Where(match => match.Groups["name"].Value == device)
        .Sum(match => long.Parse(match.Groups["count"].Value, CultureInfo.InvariantCulture));

    [GeneratedRegex(@"^ +(?<count>[0-9]+) (?<name>.+)$", RegexOptions.Multiline | RegexOptions.ExplicitCapture)]
    private static partial Regex Lines();
}
