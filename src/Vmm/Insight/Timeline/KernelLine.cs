using System.Globalization;
using System.Text;

namespace Vmm.Insight.Timeline;

/// <summary>A line of the guest's console.</summary>
/// <param name="Time">When it ended, in nanoseconds since vmm was started.</param>
/// <param name="Guest">The guest's own clock in seconds, as Linux puts it in front; null where there is none.</param>
/// <param name="Text">The rest, without control characters.</param>
internal sealed record KernelLine(long Time, double? Guest, string Text)
{
    private const int LongestNumber = 20;

    /// <param name="bytes">The line as the guest wrote it, without its end; any bytes.</param>
    public static KernelLine Parse(long time, ReadOnlySpan<byte> bytes)
    {
        string text = Clean(Encoding.UTF8.GetString(bytes)).TrimEnd();
        return TryTakeTime(text, out double guest, out string rest)
            ? new KernelLine(time, guest, rest)
            : new KernelLine(time, null, text);
    }

    /// <summary><c>[    1.234567] text</c>, or <c>[    1.234567][    T1] text</c> (printk.time, PRINTK_CALLER).</summary>
    private static bool TryTakeTime(string text, out double guest, out string rest)
    {
        guest = 0;
        rest = "";
        int end = text.IndexOf(']', StringComparison.Ordinal);
        if (end is < 2 or > LongestNumber || text[0] != '['
            || !double.TryParse(
                text.AsSpan(1, end - 1), NumberStyles.AllowLeadingWhite | NumberStyles.AllowDecimalPoint,
                CultureInfo.InvariantCulture, out guest)
            || !text.AsSpan(1, end - 1).Contains('.'))
        {
            return false;
        }

        int start = end + 1;
        if (start < text.Length && text[start] == '[' && text.IndexOf(']', start) is int caller and > 0
            && caller - start <= LongestNumber)
        {
            start = caller + 1;
        }

        rest = text[start..].TrimStart();
        return true;
    }

    /// <summary>Without escape sequences (ECMA-48, 5.4: ESC [ parameters final byte) and other control characters: the text is
    /// printed to terminals, which would interpret them.</summary>
    private static string Clean(string text)
    {
        var clean = new StringBuilder(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (c == '\e')
            {
                i = SkipSequence(text, i);
            }
            else if (c == '\t')
            {
                clean.Append(' ');
            }
            else if (!char.IsControl(c) && CharUnicodeInfo.GetUnicodeCategory(c) != UnicodeCategory.Format)
            {
                clean.Append(c);
            }
        }

        return clean.ToString();
    }

    /// <summary>The index of a sequence's last character.</summary>
    private static int SkipSequence(string text, int escape)
    {
        int i = escape + 1;
        if (i < text.Length && text[i] == '[')
        {
            for (i++; i < text.Length && text[i] is >= ' ' and <= '?'; i++)
            {
            }
        }

        return Math.Min(i, text.Length - 1);
    }
}
