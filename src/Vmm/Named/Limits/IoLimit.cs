using Vmm.Host;
using Vmm.Text;

namespace Vmm.Named.Limits;

/// <summary>What a machine reads a second of each block device of the host at most; it may write as much again.</summary>
/// <param name="Bandwidth">Bytes; null for no limit.</param>
/// <param name="Operations">Requests; null for no limit.</param>
internal sealed record IoLimit(ulong? Bandwidth = null, ulong? Operations = null)
{
    /// <param name="text"><c>bw=50M</c>, <c>iops=500</c>, <c>bw=50M,iops=500</c>, or <c>none</c>.</param>
    /// <returns>Null for no limit.</returns>
    /// <exception cref="UsageException">It is none of these.</exception>
    public static IoLimit? Parse(string text)
    {
        const ulong LeastBandwidth = 64 << 10, MostOperations = 1_000_000_000;
        if (text == MachineLimits.NoLimit)
        {
            return null;
        }

        var limit = new IoLimit();
        foreach (string part in OptionText.Split(text))
        {
            limit = OptionText.Parse(part) switch
            {
                ("bw", { } value) when limit.Bandwidth is null => limit with { Bandwidth = ByteSize.Parse(value, $"{MachineLimits.IoOption} {text}: bw") },
                ("iops", { } value) when limit.Operations is null => limit with
                {
                    Operations = OptionText.Number(value, 1, MostOperations) ?? throw Wrong(text, $"iops= takes a number from 1 to {MostOperations}"),
                },
                _ => throw Wrong(text, $"takes bw=SIZE, iops=N or both, as bw=50M,iops=500, or {MachineLimits.NoLimit}"),
            };
        }

        return limit.Bandwidth is null or >= LeastBandwidth
            ? limit
            : throw Wrong(text, $"bw= is too little to work with; give at least {ByteSize.Format(LeastBandwidth)}");
    }

    private static UsageException Wrong(string text, string why) => new($"{MachineLimits.IoOption} {text}: {why}");
}
