namespace Vmm.Devices.Virtio.Net;

/// <summary>Features of network cards and how they depend on each other (virtio 1.2, sections 5.1.3 and
/// 5.1.3.1).</summary>
internal static class NetFeatures
{
    public const ulong Csum = 1UL << 0;
    public const ulong GuestCsum = 1UL << 1;
    public const ulong Mtu = 1UL << 3;
    public const ulong Mac = 1UL << 5;
    public const ulong GuestTso4 = 1UL << 7;
    public const ulong GuestTso6 = 1UL << 8;
    public const ulong GuestEcn = 1UL << 9;
    public const ulong GuestUfo = 1UL << 10;
    public const ulong HostTso4 = 1UL << 11;
    public const ulong HostTso6 = 1UL << 12;
    public const ulong HostEcn = 1UL << 13;
    public const ulong HostUfo = 1UL << 14;
    public const ulong MrgRxbuf = 1UL << 15;
    public const ulong Status = 1UL << 16;
    public const ulong CtrlVq = 1UL << 17;
    public const ulong Mq = 1UL << 22;

    public static ulong Offered(NetOptions options, INetBackend backend)
    {
        NetOffloads offloads = backend.Offloads;
        return Mac | MrgRxbuf | Status
            | (options.Mtu != 0 ? Mtu : 0)
            | (backend.QueuePairs > 1 ? CtrlVq | Mq : 0)
            | When(offloads, NetOffloads.Checksum, Csum | GuestCsum)
            | When(offloads, NetOffloads.Checksum | NetOffloads.Tso4, GuestTso4 | HostTso4)
            | When(offloads, NetOffloads.Checksum | NetOffloads.Tso6, GuestTso6 | HostTso6)
            | When(offloads, NetOffloads.Checksum | NetOffloads.Tso4 | NetOffloads.Ecn, GuestEcn | HostEcn)
            | When(offloads, NetOffloads.Checksum | NetOffloads.Ufo, GuestUfo | HostUfo);
    }

    public static bool AreConsistent(ulong features) =>
        Needs(features, GuestTso4 | GuestTso6 | GuestUfo, GuestCsum)
        && Needs(features, GuestEcn, GuestTso4 | GuestTso6)
        && Needs(features, HostTso4 | HostTso6 | HostUfo, Csum)
        && Needs(features, HostEcn, HostTso4 | HostTso6)
        && Needs(features, Mq, CtrlVq);

    /// <summary>The offloads that the driver accepts for frames from the backend.</summary>
    public static NetOffloads ToGuest(ulong features) =>
        ((features & GuestCsum) != 0 ? NetOffloads.Checksum : 0)
        | ((features & GuestTso4) != 0 ? NetOffloads.Tso4 : 0)
        | ((features & GuestTso6) != 0 ? NetOffloads.Tso6 : 0)
        | ((features & GuestEcn) != 0 ? NetOffloads.Ecn : 0)
        | ((features & GuestUfo) != 0 ? NetOffloads.Ufo : 0);

    private static ulong When(NetOffloads have, NetOffloads all, ulong features) => (have & all) == all ? features : 0;

    /// <summary>Any of <paramref name="some"/> only with any of <paramref name="one"/>.</summary>
    private static bool Needs(ulong features, ulong some, ulong one) => (features & some) == 0 || (features & one) != 0;
}
