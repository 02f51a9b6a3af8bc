namespace Vmm.Text;

/// <summary>A row of a table for people: what is written, and what it means.</summary>
internal readonly record struct ManualRow(string Syntax, string Meaning)
{
    /// <summary>The part before <c>=</c>.</summary>
    public string Name => Syntax.Split('=')[0];

    /// <summary>For an error: all names.</summary>
    public static string List(IEnumerable<ManualRow> rows) => string.Join(", ", rows.Select(row => row.Syntax));
}
