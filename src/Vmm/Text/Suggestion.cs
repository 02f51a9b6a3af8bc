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
            int distance = bare.Length > 2 && name.StartsWith(bare, StringComparison.Ordinal) ? 1 : Distance(bare, name);
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

    /// <summary>Letters to insert, remove, replace or swap with their neighbour (optimal string alignment distance).</summary>
    internal static int Distance(string from, string to)
    {
        var cost = new int[from.Length + 1, to.Length + 1];
        for (int i = 0; i <= from.Length; i++)
        {
            for (int j = 0; j <= to.Length; j++)
            {
                if (i == 0 || j == 0)
                {
                    cost[i, j] = i + j;
                    continue;
                }

                bool same = char.ToLowerInvariant(from[i - 1]) == char.ToLowerInvariant(to[j - 1]);
                cost[i, j] = Math.Min(
                    Math.Min(cost[i - 1, j], cost[i, j - 1]) + 1, cost[i - 1, j - 1] + (same ? 0 : 1));
                if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1])
                {
                    cost[i, j] = Math.Min(cost[i, j], cost[i - 2, j - 2] + 1);
                }
            }
        }

        return cost[from.Length, to.Length];
    }
}
