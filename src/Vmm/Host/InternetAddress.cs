using System.Text;

namespace Vmm.Host;

/// <summary>IPv4 and IPv6 addresses as numbers. Not System.Net, which makes the binary half a megabyte longer.</summary>
internal static unsafe class InternetAddress
{
    private const int V4Bytes = 4, V6Bytes = 16;

    /// <summary>The 4 or 16 bytes of an address; null for any other text.</summary>
    public static byte[]? TryParse(string text)
    {
        bool isV6 = text.Contains(':', StringComparison.Ordinal);
        byte[] address = new byte[isV6 ? V6Bytes : V4Bytes];
        fixed (byte* bytes = address, source = Encoding.UTF8.GetBytes(text + '\0'))
        {
            // SAFETY: inet_pton(3) writes as many bytes as the family has, and reads up to the zero.
            return LibC.inet_pton(isV6 ? LibC.AF_INET6 : LibC.AF_INET, source, bytes) == 1 ? address : null;
        }
    }
}
