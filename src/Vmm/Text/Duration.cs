using System.Globalization;

namespace Vmm.Text;

/// <summary>Formats nanoseconds with three digits and a unit.</summary>
internal static class Duration
{
    private static readonly (double Size, string Unit)[] Units = [(1e9, "s"), (1e6, "ms"), (1e3, "us")];

    public static string Format(long nanoseconds)
    {
        foreach ((double size, string unit) in Units)
        {
            // 999.6 us would round to 1000 us: it is 1.00 ms.
            if (Math.Abs(nanoseconds) >= size * 0.9995)
            {
                double value = nanoseconds / size;
                string digits = Math.Abs(value) switch
                {
                    >= 99.95 => "0",
                    >= 9.995 => "0.0",
                    _ => "0.00",
                };
                return $"{value.ToString(digits, CultureInfo.InvariantCulture)} {unit}";
            }
        }

        return string.Create(CultureInfo.InvariantCulture, $"{nanoseconds} ns");
    }
}
