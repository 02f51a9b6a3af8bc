using System.Text;

namespace Vmm.Text;

/// <summary>Columns as wide as what is in them.</summary>
/// <param name="columns">Their titles; one that begins with &lt; is aligned to the left.</param>
internal sealed class TextTable(params string[] columns)
{
    private readonly List<string[]> _rows = [[.. columns.Select(title => title.TrimStart('<'))]];

    /// <param name="cells">As many as there are columns.</param>
    public void Add(params string[] cells) => _rows.Add(cells);

    public void WriteTo(StringBuilder text)
    {
        int[] widths = [.. columns.Select((_, column) => _rows.Max(row => row[column].Length))];
        foreach (string[] row in _rows)
        {
            int start = text.Length;
            for (int column = 0; column < columns.Length; column++)
            {
                bool left = columns[column].StartsWith('<');
                text.Append("  ").Append(left ? row[column].PadRight(widths[column]) : row[column].PadLeft(widths[column]));
            }

            while (text.Length > start && text[^1] == ' ')
            {
                text.Length--;
            }

            text.Append('\n');
        }
    }
}
