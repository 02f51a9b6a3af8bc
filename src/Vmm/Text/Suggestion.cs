using Vmm.Boot;

namespace Vmm.Text;

/// <summary>Finds the known word that is closest to a mistyped one.</summary>
internal static class Suggestion
{
    /// <returns>The candidate that is most like the word; null if none is.</returns>
    public static string? Closest(string word, IEnumerable<string> candidates)
    {
        string bare = word.TrimStart('-');
        string? best = null;
        int least = bare.Length switch { < 3 => 0, < 5 => 1, < 9 => 2, _ => 3 };
        foreach (string candidate in candidates)
        {
            string name = candidate.TrimStart('-');
            int distance = bare.Length > 2 && name.StartsWith(bare, StringComparison.Ordinal) ? 1 : EditDistance.Between(bare, name);
            if (distance < least || (distance == least && best is null))
            {
                (best, least) = (candidate, distance);
            }
        }

        return best;
    }

    /// <summary><c>; did you mean 'readonly'?</c>, or nothing.</summary>
    public static string DidYouMean(string word, IEnumerable<string> candidates) =>
        Closest(word, candidates) is { } found ? $"; did you mean '{found}'?" : "";

    /// <summary><c> (did you mean 'readonly'?)</c>, or nothing: where a list of all follows.</summary>
    public static string Aside(string word, IEnumerable<ManualRow> rows) =>
        Closest(word, rows.Select(row => row.Name)) is { } found ? $" (did you mean '{found}'?)" : "";
}
