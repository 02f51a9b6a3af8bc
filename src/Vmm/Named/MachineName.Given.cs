using Vmm.Host;
using Vmm.Text;

namespace Vmm.Named;

// Names that users give, and those that are invented for them.
internal static partial class MachineName
{
    private const int MostShown = 40;

    private static readonly string[] Adjectives =
    [
        "able", "amber", "big", "blue", "bold", "brave", "bright", "brisk", "busy", "calm", "clear", "clever", "cool", "dry", "eager",
        "early", "easy", "fair", "fast", "fine", "firm", "fresh", "glad", "gold", "good", "green", "happy", "keen", "kind", "large",
        "late", "light", "loud", "lucky", "mild", "neat", "new", "nice", "open", "plain", "proud", "quick", "quiet", "rapid", "ready",
        "red", "rich", "round", "sharp", "short", "silver", "small", "smart", "soft", "solid", "still", "strong", "sunny", "tall",
        "tidy", "warm", "white", "wide", "young",
    ];

    private static readonly string[] Nouns =
    [
        "ant", "apple", "badger", "bear", "bee", "birch", "bird", "boat", "bridge", "brook", "cat", "cedar", "cherry", "cloud", "coast",
        "crane", "deer", "dog", "duck", "eagle", "elm", "falcon", "fern", "field", "finch", "fish", "forest", "fox", "goat", "goose",
        "hare", "hawk", "hedge", "heron", "hill", "horse", "island", "lake", "lark", "leaf", "lion", "maple", "meadow", "moon", "moth",
        "oak", "otter", "owl", "panda", "pine", "pond", "rabbit", "river", "robin", "seal", "sheep", "shore", "snail", "stone", "swan",
        "tiger", "trout", "valley", "wolf",
    ];

    /// <param name="option">Where it was given, for the error: <c>--name</c>; empty for an argument.</param>
    /// <exception cref="UsageException">No machine can be called so.</exception>
    public static string Check(string name, string option)
    {
        if (IsValid(name))
        {
            return name;
        }

        string shown = PrintableText.Of(name.Length > MostShown ? name[..MostShown] + "..." : name);
        string given = option.Length > 0 ? $"{option} {shown}" : $"'{shown}'";
        throw new UsageException(
            $"{given}: no name of a machine: it takes 1 to {MostLength} of a-z, 0-9, '-', '_' and '.', the first a letter or a digit");
    }

    /// <summary>Two words, as <c>calm-otter</c>.</summary>
    /// <param name="isTaken">Whether there is such a machine.</param>
    public static string Invent(Func<string, bool> isTaken)
    {
        const int Tries = 64;
        for (int i = 0; i < Tries; i++)
        {
            string name = $"{Pick(Adjectives)}-{Pick(Nouns)}";
            if (!isTaken(name))
            {
                return name;
            }
        }

        // Most of the 4096 are taken.
        for (int number = 2; ; number++)
        {
            string name = string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Pick(Adjectives)}-{Pick(Nouns)}-{number}");
            if (!isTaken(name))
            {
                return name;
            }
        }
    }

    private static string Pick(string[] words)
    {
        Span<byte> random = stackalloc byte[1];
        SystemRandom.Fill(random);
        return words[random[0] % words.Length];
    }
}
