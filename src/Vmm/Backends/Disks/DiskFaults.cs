using System.Globalization;
using Vmm.Host;

namespace Vmm.Backends.Disks;

/// <summary>Faults that a tester asks for; the default is none.</summary>
/// <param name="ErrorRate">Share of requests that fail without being done, 0 to 1.</param>
/// <param name="LatencyMilliseconds">Each completion comes so much later.</param>
/// <param name="TornSector">A write across the start of this sector stops there and fails; null for none.</param>
/// <param name="Seed">The same seed fails the same requests.</param>
internal readonly record struct DiskFaults(double ErrorRate, int LatencyMilliseconds, ulong? TornSector, int Seed)
{
    public bool Any => ErrorRate > 0 || LatencyMilliseconds > 0 || TornSector is not null;

    /// <exception cref="UsageException">It is none of them.</exception>
    public static DiskFaults Parse(string text, DiskFaults known, string value)
    {
        int at = value.IndexOf('@', StringComparison.Ordinal);
        string kind = at < 0 ? value : value[..at];
        string argument = at < 0 ? "" : value[(at + 1)..];
        switch (kind)
        {
            case "eio" when double.TryParse(
                argument, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double rate) && rate <= 1:
                return known with { ErrorRate = rate };
            case "latency" when int.TryParse(
                argument, NumberStyles.None, CultureInfo.InvariantCulture, out int latency) && latency <= 60_000:
                return known with { LatencyMilliseconds = latency };
            case "torn" when ulong.TryParse(
                argument, NumberStyles.None, CultureInfo.InvariantCulture, out ulong sector):
                return known with { TornSector = sector };
            default:
                throw new UsageException(
                    $"--disk {text}: fault= is eio@RATE (0 to 1), latency@MS (up to 60000) or torn@SECTOR");
        }
    }
}
