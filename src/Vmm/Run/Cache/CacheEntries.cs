using System.Globalization;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Run.Cache;

/// <summary><c>--cache-entries N[,uses=M]</c>: how many machines are kept that booted alike, each with kernel addresses of its own, and
/// after how many uses each is made anew.</summary>
/// <param name="Uses">0 for as many as wanted.</param>
internal sealed record CacheEntries(int Count = 1, int Uses = CacheEntries.UsualUses)
{
    public const int UsualUses = 1000, Most = 64;

    private const int MostUses = 1_000_000;

    /// <exception cref="UsageException">It is no such text.</exception>
    public static CacheEntries Parse(string text)
    {
        List<string> parts = OptionText.Split(text);
        var entries = new CacheEntries((int)(OptionText.Number(parts[0], 1, Most)
            ?? throw new UsageException($"--cache-entries {text}: takes a number from 1 to {Most}, and perhaps ,uses=M")));
        foreach (string part in parts.Skip(1))
        {
            if (OptionText.Parse(part) is not ("uses", { } value) || OptionText.Number(value, 0, MostUses) is not { } uses)
            {
                throw new UsageException(string.Create(
                    CultureInfo.InvariantCulture, $"--cache-entries {text}: uses= takes a number up to {MostUses}; 0 for as many as wanted"));
            }

            entries = entries with { Uses = (int)uses };
        }

        return entries;
    }
}
