using System.Globalization;
using System.Text;

namespace Vmm.Text;

/// <summary>The common form of <c>--disk</c> and <c>--net</c>: parts with commas between them, most of them
/// <c>name=value</c>. A comma in a value is written twice.</summary>
internal static class OptionText
{
    public static List<string> Split(string text)
    {
        var parts = new List<string>();
        var part = new StringBuilder();
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != ',')
            {
                part.Append(text[i]);
            }
            else if (i + 1 < text.Length && text[i + 1] == ',')
            {
                part.Append(text[i++]);
            }
            else
            {
                parts.Add(part.ToString());
                part.Clear();
            }
        }

        parts.Add(part.ToString());
        return parts;
    }

    /// <summary>Takes <c>name=value</c> apart; no value where there is no <c>=</c>.</summary>
    public static (string Name, string? Value) Parse(string part)
    {
        int equals = part.IndexOf('=', StringComparison.Ordinal);
        return equals < 0 ? (part, null) : (part[..equals], part[(equals + 1)..]);
    }

    /// <summary>For an error: the closest known name, and all of them.</summary>
    public static string Unknown(string option, IReadOnlyList<ManualRow> known) =>
        $"no such option '{option}'{Suggestion.Aside(option, known)}; there are: {ManualRow.List(known)}";

    /// <summary>A whole number in that range; null when it is none.</summary>
    public static ulong? Number(string value, ulong least, ulong most) =>
        ulong.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number)
        && number >= least && number <= most
            ? number
            : null;
}
