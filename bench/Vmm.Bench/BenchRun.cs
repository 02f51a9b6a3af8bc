using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Exporters.Json;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using Vmm.Bench.Operations;

namespace Vmm.Bench;

/// <summary>A run of the benchmarks: chooses them, keeps the results, says what is wrong.</summary>
internal static class BenchRun
{
    private static readonly Type[] OperationClasses =
    [
        typeof(VirtqueueBenchmarks), typeof(AddressBusBenchmarks), typeof(GuestMemoryBenchmarks),
        typeof(SerialBenchmarks), typeof(ExitHandlerBenchmarks), typeof(AssistBenchmarks),
    ];

    public static int Run(string[] args)
    {
        BenchOptions options = BenchOptions.Parse(args);
        var wrong = new List<string>();
        Directory.CreateDirectory(Path.Combine(Repository.Root, "out", "bench"));
        string logPath = Path.Combine(Repository.Root, "out", "bench", "bench.log");
        using (var file = new StreamWriter(logPath))
        {
            var log = new StreamLogger(file);
            foreach (Type type in OperationClasses)
            {
                Summary summary = BenchmarkRunner.Run(type, BenchConfig.Operations(options, log));
                Keep(summary, options, wrong);
            }
        }

        wrong.AddRange(AllocationBudget.Check(options.Filter, TextWriter.Null));
        System.Console.WriteLine($"Results: {Path.GetRelativePath(Repository.Root, Repository.Results)}/; log: {logPath}");
        return Report(wrong);
    }

    /// <summary>The budgets alone, without timing anything: seconds.</summary>
    public static int CheckAllocations(ReadOnlySpan<string> args) =>
        Report(AllocationBudget.Check(BenchOptions.Parse(args).Filter, System.Console.Out));

    private static int Report(IReadOnlyCollection<string> wrong)
    {
        foreach (string line in wrong)
        {
            System.Console.Error.WriteLine($"bench: {line}");
        }

        return wrong.Count == 0 ? 0 : 1;
    }

    /// <summary>Shows a summary, and keeps it when all of its class was run.</summary>
    private static void Keep(Summary summary, BenchOptions options, List<string> wrong)
    {
        if (summary.BenchmarksCases.Length == 0)
        {
            return;
        }

        wrong.AddRange(summary.Reports.Where(report => !report.Success)
            .Select(report => $"failed: {report.BenchmarkCase.DisplayInfo}; see the log"));
        MarkdownExporter.Default.ExportToLog(summary, ConsoleLogger.Default);
        if (options.Filter.Length != 0)
        {
            return;
        }

        string name = Path.Combine(
            Repository.Results, summary.BenchmarksCases[0].Descriptor.Type.Name.Replace("Benchmarks", "", StringComparison.Ordinal));
        using (var markdown = new StreamWriter($"{name}.md"))
        {
            markdown.WriteLine($"{Repository.HostLine} Command: `make bench{(options.Full ? " FULL=1" : "")}`.");
            MarkdownExporter.Default.ExportToLog(summary, new StreamLogger(markdown));
        }

        using var json = new StreamWriter($"{name}.json");
        JsonExporter.Brief.ExportToLog(summary, new StreamLogger(json));
    }
}
