namespace Vmm.Bench;

/// <summary>The command line behind the part: <c>[--full] [--filter TEXT]</c>.</summary>
/// <param name="Full">Run each long enough for figures to keep; else a short job.</param>
/// <param name="Filter">Only what has this in its class or name; empty for all.</param>
internal sealed record BenchOptions(bool Full, string Filter)
{
    /// <summary>The options that were given last.</summary>
    public static BenchOptions Current { get; private set; } = new(Full: false, "");

    public static BenchOptions Parse(ReadOnlySpan<string> args)
    {
        var options = new BenchOptions(Full: false, "");
        for (int i = 0; i < args.Length; i++)
        {
            options = args[i] switch
            {
                "--full" => options with { Full = true },
                "--filter" when i + 1 < args.Length => options with { Filter = args[++i] },
                _ => throw new ArgumentException($"{args[i]}: not known; there are --full and --filter TEXT"),
            };
        }

        return Current = options;
    }

    public bool Wants(string className, string name) =>
        $"{className}: {name}".Contains(Filter, StringComparison.OrdinalIgnoreCase);
}
