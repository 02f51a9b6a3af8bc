using System.Runtime.InteropServices;

namespace Vmm.Host;

// <linux/if_tun.h>, <net/if.h>.
internal static unsafe partial class LibCAdditions
{
    extension(LibC)
    {
        public static int TUNSETIFF => 0x400454ca;

        public static int TUNSETOFFLOAD => 0x400454d0;

        public static int TUNGETIFF => unchecked((int)0x800454d2);

        public static int TUNSETVNETHDRSZ => 0x400454d8;

        public static int TUNSETQUEUE => 0x400454d9;

        public static ushort IFF_TAP => 2;

        public static ushort IFF_MULTI_QUEUE => 0x100;

        public static ushort IFF_ATTACH_QUEUE => 0x200;

        public static ushort IFF_DETACH_QUEUE => 0x400;

        public static ushort IFF_PERSIST => 0x800;

        public static ushort IFF_NO_PI => 0x1000;

        public static ushort IFF_VNET_HDR => 0x4000;

        public static ushort IFF_UP => 1;

        public static uint TUN_F_CSUM => 1;

        public static uint TUN_F_TSO4 => 2;

        public static uint TUN_F_TSO6 => 4;

        public static uint TUN_F_TSO_ECN => 8;

        public static uint TUN_F_UFO => 16;
    }
}

/// <summary>struct ifreq with its flags.</summary>
[StructLayout(LayoutKind.Sequential, Size = 40)]
internal unsafe struct Ifreq
{
    public const int NameLength = 16;

    public fixed byte Name[NameLength];
    public ushort Flags;
}
