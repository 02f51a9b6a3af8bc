using System.Globalization;

namespace Vmm.Run.Results;

/// <summary>Which shards of a run there are among reports: each says in its root's name which one it is.</summary>
internal sealed class JUnitShards
{
    private const string Before = "shard ";

    private readonly SortedDictionary<int, SortedSet<int>> _seen = [];

    public static string NameOf((int Number, int Of) shard) =>
        string.Create(CultureInfo.InvariantCulture, $"{Before}{shard.Number}/{shard.Of}");

    /// <param name="name">Of a report's root; null or another name is of no shard.</param>
    public void Add(string? name)
    {
        if (name?.StartsWith(Before, StringComparison.Ordinal) == true && name[Before.Length..].Split('/') is [var number, var of]
            && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int i)
            && int.TryParse(of, NumberStyles.None, CultureInfo.InvariantCulture, out int n) && i >= 1 && i <= n)
        {
            if (!_seen.TryGetValue(n, out SortedSet<int>? numbers))
            {
                _seen[n] = numbers = [];
            }

            numbers.Add(i);
        }
    }

    /// <summary>For people: those that are missing; empty where none is.</summary>
    public string Missing()
    {
        const int MostNamed = 10;
        List<string> missing = [];
        int count = 0;
        foreach ((int of, SortedSet<int> numbers) in _seen)
        {
            count += of - numbers.Count;
            missing.AddRange(Enumerable.Range(1, of).Where(number => !numbers.Contains(number)).Take(MostNamed - Math.Min(missing.Count, MostNamed))
                .Select(number => NameOf((number, of))));
        }

        return string.Join(", ", missing) + (count > missing.Count ? string.Create(CultureInfo.InvariantCulture, $" and {count - missing.Count} more") : "");
    }
}
