using System.Globalization;

namespace Vmm.Devices.Memory;

/// <summary>A guest-physical address, in bytes. A type of its own so that it is never mixed up with an offset,
/// a length or an address of the host.</summary>
public readonly record struct GuestAddress(ulong Value)
{
    /// <summary>The address <paramref name="offset"/> bytes further on; wraps at 2^64, so check the sum's range with
    /// <see cref="GuestMemory.Contains"/> and never by comparing sums.</summary>
    public static GuestAddress operator +(GuestAddress address, ulong offset) => new(address.Value + offset);

    /// <summary>The distance in bytes from <paramref name="right"/> to <paramref name="left"/>.</summary>
    public static ulong operator -(GuestAddress left, GuestAddress right) => left.Value - right.Value;

    public static bool operator <(GuestAddress left, GuestAddress right) => left.Value < right.Value;
    public static bool operator >(GuestAddress left, GuestAddress right) => left.Value > right.Value;

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Value:x}");
}
