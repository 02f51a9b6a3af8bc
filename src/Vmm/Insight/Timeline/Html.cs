using System.Text;

namespace Vmm.Insight.Timeline;

/// <summary>Makes any text safe to stand in an HTML page.</summary>
internal static class Html
{
    /// <summary>For text and for attributes in quotes. What HTML does not allow even escaped (control characters, halves of
    /// surrogate pairs, noncharacters) becomes U+FFFD.</summary>
    public static string Escape(string text)
    {
        var escaped = new StringBuilder(text.Length);
        foreach (Rune rune in text.EnumerateRunes())       // unpaired surrogates come as U+FFFD
        {
            _ = rune.Value switch
            {
                '&' => escaped.Append("&amp;"),
                '<' => escaped.Append("&lt;"),
                '>' => escaped.Append("&gt;"),
                '"' => escaped.Append("&quot;"),
                '\'' => escaped.Append("&#39;"),
                _ => escaped.Append((IsAllowed(rune) ? rune : Rune.ReplacementChar).ToString()),
            };
        }

        return escaped.ToString();
    }

    /// <summary>Noncharacters are the last two of each plane and U+FDD0 to U+FDEF (Unicode, 23.7).</summary>
    private static bool IsAllowed(Rune rune) =>
        !Rune.IsControl(rune) && (rune.Value & 0xfffe) != 0xfffe && rune.Value is not (>= 0xfdd0 and <= 0xfdef);
}
