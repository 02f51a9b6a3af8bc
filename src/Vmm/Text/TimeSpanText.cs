using System.Globalization;
using Vmm.Host;

namespace Vmm.Text;

/// <summary>Durations as timeout(1) takes them: a number, and s, m or h behind it; seconds without.</summary>
internal static class TimeSpanText
{
    private const double MostSeconds = 365 * 24 * 3600;

    /// <param name="option">For the error: <c>--timeout</c>.</param>
    /// <param name="zeroIsNoLimit">Is 0 taken, for no limit?</param>
    /// <exception cref="UsageException">It is no such duration, nothing, or more than a year.</exception>
    public static TimeSpan Parse(string text, string option, bool zeroIsNoLimit = false)
    {
        double unit = text.Length == 0 ? 0 : text[^1] switch
        {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => 0,
        };
        ReadOnlySpan<char> digits = unit == 0 ? text : text.AsSpan(0, text.Length - 1);
        if (!double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number)
            || !double.IsFinite(number))
        {
            string noLimit = zeroIsNoLimit ? ", or 0 for no limit" : "";
            throw new UsageException($"{option} {text}: not a duration; write for instance {option} 90s, 5m or 1h{noLimit}");
        }

        double seconds = number * (unit == 0 ? 1 : unit);
        return seconds switch
        {
            0 when zeroIsNoLimit => TimeSpan.Zero,
            <= 0 => throw new UsageException($"{option} {text}: must be above zero; leave the option out for no limit"),
            > MostSeconds => throw new UsageException($"{option} {text}: more than a year"),
            _ => TimeSpan.FromSeconds(seconds),
        };
    }

    /// <summary>Seconds with at most two decimals: 1.5 s, 90 s.</summary>
    public static string Format(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.##} s");
}
