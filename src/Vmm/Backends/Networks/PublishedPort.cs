using Vmm.Host;
using Vmm.Text;

namespace Vmm.Backends.Networks;

/// <summary>A port of the host that leads to one of the guest, TCP and UDP: <c>publish=[ADDRESS:]PORT[:GUESTPORT]</c>.</summary>
/// <param name="Address">The host's IPv4 or IPv6 address; null for all of them.</param>
/// <param name="Port">On the host.</param>
/// <param name="GuestPort">In the guest.</param>
internal sealed record PublishedPort(string? Address, int Port, int GuestPort)
{
    /// <summary>Null when it is none. An IPv6 address stands in brackets.</summary>
    public static PublishedPort? TryParse(string text)
    {
        string? address = null;
        string ports = text;
        int end = text.StartsWith('[') ? text.IndexOf("]:", StringComparison.Ordinal) + 1 : text.IndexOf(':', StringComparison.Ordinal);
        if (text.StartsWith('[') || text.Contains('.', StringComparison.Ordinal))
        {
            if (end <= 0)
            {
                return null;
            }

            address = text[..end].Trim('[', ']');
            ports = text[(end + 1)..];
            if (InternetAddress.TryParse(address) is null || address.Contains(':', StringComparison.Ordinal) != text.StartsWith('['))
            {
                return null;
            }
        }

        string[] parts = ports.Split(':');
        return parts.Length is 1 or 2
            && OptionText.Number(parts[0], 1, 65535) is { } port && OptionText.Number(parts[^1], 1, 65535) is { } guest
                ? new PublishedPort(address, (int)port, (int)guest)
                : null;
    }

    /// <summary>As passt takes it (<c>--tcp-ports</c>): <c>127.0.0.1/8080:80</c>.</summary>
    public string ToPasst() => Address is null ? $"{Port}:{GuestPort}" : $"{Address}/{Port}:{GuestPort}";
}
