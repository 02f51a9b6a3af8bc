using System.Globalization;

namespace Vmm.Backends.Networks;

/// <summary>Reads the host's routing tables.</summary>
internal static class HostRoutes
{
    private const uint RTF_UP = 1;

    /// <summary>Is there a default route, by IPv4 or IPv6? Without one passt needs addresses on its command line.</summary>
    public static bool AnyDefault() =>
        AnyDefault(Lines("/proc/net/route"), Lines("/proc/net/ipv6_route"));

    /// <param name="ipv4">/proc/net/route: interface, destination, gateway, flags, four columns more, mask.</param>
    /// <param name="ipv6">/proc/net/ipv6_route: destination and its prefix, source and its, next hop, three columns more,
    /// flags, interface.</param>
    internal static bool AnyDefault(IEnumerable<string> ipv4, IEnumerable<string> ipv6) =>
        ipv4.Select(Columns).Any(
            column => column is [_, "00000000", _, var flags, _, _, _, "00000000", ..] && IsUp(flags))
        || ipv6.Select(Columns).Any(
            column => column is [var to, "00", _, _, _, _, _, _, var flags, not "lo", ..]
                && to.All(digit => digit == '0') && IsUp(flags));

    private static string[] Columns(string line) =>
        line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);

    private static bool IsUp(string flags) =>
        uint.TryParse(flags, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint bits)
        && (bits & RTF_UP) != 0;

    /// <summary>None where the kernel lacks the protocol.</summary>
    private static IEnumerable<string> Lines(string path) => File.Exists(path) ? File.ReadLines(path) : [];
}
