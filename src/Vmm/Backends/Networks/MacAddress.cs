using System.Globalization;
using System.Text;

namespace Vmm.Backends.Networks;

/// <summary>Ethernet addresses: six bytes.</summary>
internal static class MacAddress
{
    private const int Length = 6;

    /// <summary>Reads <c>52:54:00:12:34:56</c>; null when it is none that a card can have (multicast, or all
    /// zero).</summary>
    public static byte[]? TryParse(string text)
    {
        string[] parts = text.Split(':');
        byte[] mac = new byte[Length];
        if (parts.Length != Length)
        {
            return null;
        }

        for (int i = 0; i < Length; i++)
        {
            if (parts[i].Length != 2
                || !byte.TryParse(parts[i], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out mac[i]))
            {
                return null;
            }
        }

        bool isMulticast = (mac[0] & 1) != 0;
        return isMulticast || mac.All(part => part == 0) ? null : mac;
    }

    /// <summary>The address of a machine's card: always the same for the same name and index. Locally administered, so that it
    /// collides with no manufacturer's.</summary>
    public static byte[] Derive(string machine, int card)
    {
        // FNV-1a over the name and the index, and the finalizer of MurmurHash3, which makes every bit affect all others.
        ulong hash = 14695981039346656037;
        foreach (byte part in (byte[])[.. Encoding.UTF8.GetBytes(machine), 0, (byte)card, (byte)(card >> 8)])
        {
            hash = (hash ^ part) * 1099511628211;
        }

        hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
        hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
        hash ^= hash >> 33;
        byte[] mac = new byte[Length];
        for (int i = 0; i < Length; i++)
        {
            mac[i] = (byte)(hash >> (8 * i));
        }

        mac[0] = (byte)((mac[0] & 0xfc) | 2);       // not multicast, locally administered (IEEE 802)
        return mac;
    }

    public static string Format(ReadOnlySpan<byte> mac) =>
        string.Join(':', Convert.ToHexStringLower(mac).Chunk(2).Select(digits => new string(digits)));
}
