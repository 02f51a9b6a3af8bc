using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>Checks that published ports are free. passt itself continues if it gets only one of IPv4 and IPv6, and then another
/// program answers at the other.</summary>
internal static unsafe class HostPorts
{
    /// <exception cref="UsageException">One is taken, or not allowed.</exception>
    public static void Check(IEnumerable<PublishedPort> ports)
    {
        foreach (PublishedPort port in ports)
        {
            string[] addresses = port.Address is null ? ["0.0.0.0", "::"] : [port.Address];
            foreach (byte[] address in addresses.Select(text => InternetAddress.TryParse(text)!))
            {
                Check(port, address, LibC.SOCK_STREAM, "TCP");
                Check(port, address, LibC.SOCK_DGRAM, "UDP");
            }
        }
    }

    private static void Check(PublishedPort port, byte[] address, int type, string protocol)
    {
        bool isV6 = address.Length > sizeof(uint);
        int number = LibC.socket(isV6 ? LibC.AF_INET6 : LibC.AF_INET, type | LibC.SOCK_CLOEXEC, 0);
        if (number < 0)
        {
            return;     // the host lacks the protocol: then the port is not taken either
        }

        using var socket = new FileDescriptor(number);
        int one = 1;

        // SAFETY: numbers and structs on this stack. A port that was just closed does not count as taken.
        if (type == LibC.SOCK_STREAM)
        {
            _ = LibC.setsockopt(number, LibC.SOL_SOCKET, LibC.SO_REUSEADDR, &one, sizeof(int));
        }

        if (isV6)
        {
            _ = LibC.setsockopt(number, LibC.IPPROTO_IPV6, LibC.IPV6_V6ONLY, &one, sizeof(int));
        }

        int errno = Bind(number, address, (ushort)port.Port) == 0 ? 0 : Marshal.GetLastPInvokeError();
        string? why = errno switch
        {
            ErrnoException.EADDRINUSE => $"{protocol} port {port.Port} is in use on this host; give another",
            ErrnoException.EADDRNOTAVAIL when port.Address is not null =>
                $"{port.Address} is no address of this host",
            ErrnoException.EACCES =>
                $"port {port.Port} is reserved; give one from 1024 up, or as root: sysctl net.ipv4.ip_unprivileged_port_start={port.Port}",
            _ => null,
        };
        if (why is not null)
        {
            throw new UsageException($"--net user,publish={port.Port}:{port.GuestPort}: {why}");
        }
    }

    private static int Bind(int socket, byte[] address, ushort port)
    {
        ushort networkPort = BinaryPrimitives.ReverseEndianness(port);
        if (address.Length > sizeof(uint))
        {
            var six = new sockaddr_in6 { sin6_family = LibC.AF_INET6, sin6_port = networkPort };
            address.CopyTo(new Span<byte>(six.sin6_addr.s6_addr, 16));
            return LibC.bind(socket, (sockaddr*)&six, sizeof(sockaddr_in6));
        }

        var four = new sockaddr_in { sin_family = LibC.AF_INET, sin_port = networkPort };
        address.CopyTo(new Span<byte>(four.sin_addr.s_addr, 4));
        return LibC.bind(socket, (sockaddr*)&four, sizeof(sockaddr_in));
    }
}
