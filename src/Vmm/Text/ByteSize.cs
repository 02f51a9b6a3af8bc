using System.Globalization;
using Vmm.Host;

namespace Vmm.Text;

/// <summary>Sizes with a unit: <c>512M</c>, <c>1G</c>, <c>65536K</c>, <c>268435456</c>; powers of 1024.</summary>
internal static class ByteSize
{
    /// <param name="text">Digits for a number of bytes, or digits and one of K, M, G, T in either case; nothing else.</param>
    /// <param name="option">For the error: <c>--mem</c>.</param>
    /// <exception cref="UsageException">It is no such size, or is above 2^63.</exception>
    public static ulong Parse(string text, string option)
    {
        int shift = text.Length == 0 ? 0 : char.ToUpperInvariant(text[^1]) switch
        {
            'K' => 10,
            'M' => 20,
            'G' => 30,
            'T' => 40,
            _ => 0,
        };
        ReadOnlySpan<char> digits = shift == 0 ? text : text.AsSpan(0, text.Length - 1);
        if (!ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number))
        {
            throw new UsageException($"{option} {text}: not a size; give bytes, or a number with K, M, G or T, for instance 512M");
        }

        return number <= (ulong)long.MaxValue >> shift
            ? number << shift
            : throw new UsageException($"{option} {text}: more than any machine has");
    }

    /// <summary>The shortest exact form: 1G, 1536M.</summary>
    public static string Format(ulong bytes)
    {
        (int Shift, string Suffix)[] units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        foreach ((int shift, string suffix) in units)
        {
            if (bytes != 0 && (bytes & ((1UL << shift) - 1)) == 0)
            {
                return (bytes >> shift).ToString(CultureInfo.InvariantCulture) + suffix;
            }
        }

        return bytes.ToString(CultureInfo.InvariantCulture);
    }
}
