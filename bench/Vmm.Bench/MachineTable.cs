using System.Globalization;
using System.Text.Json;

namespace Vmm.Bench;

/// <summary>The phases of a machine's life as a table and as JSON.</summary>
internal static class MachineTable
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    public static void WriteMarkdown(TextWriter to, IReadOnlyList<(string Phase, IReadOnlyList<double> Sorted)> phases)
    {
        to.WriteLine("Milliseconds, in a warm process under the JIT; `make bench-peers` times the product from exec.");
        to.WriteLine();
        to.WriteLine("| phase | min | median | max | samples |");
        to.WriteLine("| --- | ---: | ---: | ---: | ---: |");
        foreach ((string phase, IReadOnlyList<double> sorted) in phases)
        {
            to.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"| {phase} | {sorted[0]:0.00} | {sorted[sorted.Count / 2]:0.00} | {sorted[^1]:0.00} | {sorted.Count} |"));
        }
    }

    public static void WriteJson(TextWriter to, IReadOnlyList<(string Phase, IReadOnlyList<double> Sorted)> phases) =>
        to.WriteLine(JsonSerializer.Serialize(
            new
            {
                host = Repository.HostLine,
                unit = "ms",
                rows = phases.Select(each => new
                {
                    name = each.Phase,
                    min = each.Sorted[0],
                    median = each.Sorted[each.Sorted.Count / 2],
                    max = each.Sorted[^1],
                    samples = each.Sorted.Count,
                }),
            },
            Indented));
}
