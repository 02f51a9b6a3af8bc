using System.Globalization;
using System.Text.Json;
using Vmm.Bench.Guests;

namespace Vmm.Bench;

/// <summary>The guests' samples as a table and as JSON.</summary>
internal static class GuestTable
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    public static void WriteMarkdown(TextWriter to, IReadOnlyList<GuestResult> results)
    {
        to.WriteLine("Nanoseconds by the guest's time-stamp counter, timing included: see the row \"nothing\". Ratio: vmm's median by");
        to.WriteLine("that of the same guest under a loop in C, of batches in turns. CPL 0 is the guest's kernel, CPL 3 a program.");
        to.WriteLine();
        to.WriteLine("| what | from | min | median | 99 % | 99.9 % | median in C | 99 % in C | ratio | samples |");
        to.WriteLine("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        foreach (GuestResult row in results)
        {
            to.WriteLine(row.Vmm is { } vmm
                ? $"| {row.Name} | CPL {row.Cpl} | {Ns(vmm, 0)} | {Ns(vmm, 0.5)} | {Ns(vmm, 0.99)} | {Ns(vmm, 0.999)} "
                    + $"| {Ns(row.Yardstick, 0.5)} | {Ns(row.Yardstick, 0.99)} | {Number(row.Ratio, "0.00")} | {vmm.Count} |"
                : $"| {row.Name} | CPL {row.Cpl} | | {row.Without} | | | | | | |");
        }
    }

    public static void WriteJson(TextWriter to, IReadOnlyList<GuestResult> results) =>
        to.WriteLine(JsonSerializer.Serialize(
            new
            {
                host = Repository.HostLine,
                unit = "ns",
                rows = results.Select(row => new
                {
                    name = row.Name,
                    cpl = row.Cpl,
                    without = row.Without,
                    vmm = Numbers(row.Vmm),
                    c = Numbers(row.Yardstick),
                    ratio = row.Ratio,
                }),
            },
            Indented));

    private static object? Numbers(Distribution? of) => of is null ? null : new
    {
        min = of.At(0),
        median = of.At(0.5),
        p99 = of.At(0.99),
        p999 = of.At(0.999),
        samples = of.Count,
    };

    private static string Ns(Distribution? of, double part) => Number(of?.At(part), "0");

    private static string Number(double? value, string format) =>
        value?.ToString(format, CultureInfo.InvariantCulture) ?? "";
}
