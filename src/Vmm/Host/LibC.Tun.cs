using System.Runtime.InteropServices;

namespace Vmm.Host;

// <linux/if_tun.h>, <net/if.h>, <sys/ioctl.h>. Layouts and numbers are proved by LibCTests.
internal static unsafe partial class LibC
{
    public const nuint TUNSETIFF = 0x400454ca;
    public const nuint TUNSETOFFLOAD = 0x400454d0;
    public const nuint TUNGETIFF = 0x800454d2;
    public const nuint TUNSETVNETHDRSZ = 0x400454d8;
    public const nuint TUNSETQUEUE = 0x400454d9;
    public const nuint SIOCGIFFLAGS = 0x8913;
    public const nuint SIOCSIFFLAGS = 0x8914;

    public const ushort IFF_TAP = 2;
    public const ushort IFF_MULTI_QUEUE = 0x100;
    public const ushort IFF_ATTACH_QUEUE = 0x200;
    public const ushort IFF_DETACH_QUEUE = 0x400;
    public const ushort IFF_PERSIST = 0x800;
    public const ushort IFF_NO_PI = 0x1000;
    public const ushort IFF_VNET_HDR = 0x4000;
    public const ushort IFF_UP = 1;

    public const uint TUN_F_CSUM = 1;
    public const uint TUN_F_TSO4 = 2;
    public const uint TUN_F_TSO6 = 4;
    public const uint TUN_F_TSO_ECN = 8;
    public const uint TUN_F_UFO = 16;

    /// <summary>struct ifreq with its flags.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 40)]
    public struct Ifreq
    {
        public const int NameLength = 16;

        public fixed byte Name[NameLength];
        public ushort Flags;
    }
}
