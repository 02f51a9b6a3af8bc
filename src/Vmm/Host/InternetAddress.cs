using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>IPv4 and IPv6 addresses as numbers. Not System.Net, which makes the binary half a megabyte longer.</summary>
internal static unsafe partial class InternetAddress
{
    private const int V4Bytes = 4, V6Bytes = 16;

    /// <summary>Its 4 or 16 bytes; null when it is none.</summary>
    public static byte[]? TryParse(string text)
    {
        bool isV6 = text.Contains(':', StringComparison.Ordinal);
        byte[] address = new byte[isV6 ? V6Bytes : V4Bytes];
        fixed (byte* bytes = address)
        {
            // SAFETY: inet_pton(3) writes as many bytes as the family has.
            return InetPton(isV6 ? LibC.AF_INET6 : LibC.AF_INET, text, bytes) == 1 ? address : null;
        }
    }

    [LibraryImport("libc", EntryPoint = "inet_pton", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int InetPton(int family, string text, byte* address);
}
