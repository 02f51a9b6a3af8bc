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
    public static long AccessesOf(string device, string stats) => Lines()
        .Matches(stats)
        .Where(match => match.Groups["name"].Value == device)
        .Sum(match => long.Parse(match.Groups["count"].Value, CultureInfo.InvariantCulture));

    /// <summary>What a disk's line counts: <c>reads</c>, <c>flushes</c>, <c>fdatasync</c> ...</summary>
    public static long OfDisk(string device, string what, string stats)
    {
        Match match = Regex.Match(
            stats, $@"^disk +{Regex.Escape(device)}: .*?(?<count>[0-9]+) {Regex.Escape(what)}\b",
            RegexOptions.Multiline | RegexOptions.ExplicitCapture);
        return match.Success
            ? long.Parse(match.Groups["count"].Value, CultureInfo.InvariantCulture)
            : throw new InvalidOperationException($"no {what} of {device} in:\n{stats}");
    }

    [GeneratedRegex(@"^ +(?<count>[0-9]+) (?<name>.+)$", RegexOptions.Multiline | RegexOptions.ExplicitCapture)]
    private static partial Regex Lines();
}
