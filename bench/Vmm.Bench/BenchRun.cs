using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Exporters;
using BenchmarkDotNet.Exporters.Json;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using Vmm.Assist;
using Vmm.Bench.Guests;
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

    private static readonly Type[] GuestClasses =
    [
        typeof(ExitBenchmarks), typeof(InterruptBenchmarks), typeof(AssistedInstructionBenchmarks),
    ];

    /// <summary>What needs no KVM: queues, buses, memory, the assist.</summary>
    public static int Operations(ReadOnlySpan<string> args) => Run("operations", args, (options, log, wrong) =>
    {
        foreach (Type type in OperationClasses)
        {
            Keep(BenchmarkRunner.Run(type, BenchConfig.Operations(options, log)), options, wrong);
        }

        wrong.AddRange(AllocationBudget.Check(options.Filter, TextWriter.Null));
    });

    /// <summary>Guests under vmm and under a loop in C, and the life of a machine: on KVM.</summary>
    public static int Guests(ReadOnlySpan<string> args) => Run("guests", args, (options, log, wrong) =>
    {
        foreach (Type type in GuestClasses)
        {
            AddFailures(BenchmarkRunner.Run(type, BenchConfig.Guests(options, log)), wrong);
            KeepGuests(type, options);
        }

        AddFailures(BenchmarkRunner.Run<MachineBenchmarks>(BenchConfig.Guests(options, log)), wrong);
        KeepMachine(options);
    });

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

    private static int Run(string part, ReadOnlySpan<string> args, Action<BenchOptions, ILogger, List<string>> run)
    {
        BenchOptions options = BenchOptions.Parse(args);
        if (!AnyIsWanted(options))
        {
            return Report([$"nothing has '{options.Filter}' in its class or name"]);
        }

        var wrong = new List<string>();
        Directory.CreateDirectory(Path.Combine(Repository.Root, "out", "bench"));
        string logPath = Path.Combine(Repository.Root, "out", "bench", $"{part}.log");
        using (var file = new StreamWriter(logPath))
        {
            run(options, new StreamLogger(file), wrong);
        }

        System.Console.WriteLine($"Results: {Path.GetRelativePath(Repository.Root, Repository.Results)}/; log: {logPath}");
        return Report(wrong);
    }

    /// <summary>In either part: who asks for one of guests finds none among operations.</summary>
    private static bool AnyIsWanted(BenchOptions options) =>
        options.Wants(nameof(MachineBenchmarks), "")
        || OperationClasses.Any(type => Any(type, ((OperationBenchmarks)Activator.CreateInstance(type)!).Names, options))
        || GuestClasses.Any(type => Any(type, ((GuestBenchmarks)Activator.CreateInstance(type)!).Names, options));

    private static bool Any(Type type, IEnumerable<string> names, BenchOptions options) =>
        names.Any(name => options.Wants(type.Name, name));

    private static void AddFailures(Summary summary, List<string> wrong) =>
        wrong.AddRange(summary.Reports.Where(report => !report.Success)
            .Select(report => $"failed: {report.BenchmarkCase.DisplayInfo}; see the log"));

    /// <summary>Shows a summary, and keeps it when all of its class was run.</summary>
    private static void Keep(Summary summary, BenchOptions options, List<string> wrong)
    {
        if (summary.BenchmarksCases.Length == 0)
        {
            return;
        }

        AddFailures(summary, wrong);
        MarkdownExporter.Default.ExportToLog(summary, ConsoleLogger.Default);
        Save(summary.BenchmarksCases[0].Descriptor.Type, options,
            to => MarkdownExporter.Default.ExportToLog(summary, new StreamLogger(to)),
            to => JsonExporter.Brief.ExportToLog(summary, new StreamLogger(to)));
    }

    private static void KeepGuests(Type type, BenchOptions options)
    {
        GuestResult[] results = [.. ((GuestBenchmarks)Activator.CreateInstance(type)!).TakeResults()];
        if (!results.Any(result => result.Vmm is not null))
        {
            return;
        }

        GuestTable.WriteMarkdown(System.Console.Out, results);
        Save(type, options, to => GuestTable.WriteMarkdown(to, results), to => GuestTable.WriteJson(to, results));
    }

    private static void KeepMachine(BenchOptions options)
    {
        var phases = MachineBenchmarks.TakePhases();
        if (phases.Count != 0)
        {
            MachineTable.WriteMarkdown(System.Console.Out, phases);
            Save(typeof(MachineBenchmarks), options,
                to => MachineTable.WriteMarkdown(to, phases), to => MachineTable.WriteJson(to, phases));
        }
    }

    private static void Save(Type type, BenchOptions options, Action<StreamWriter> markdown, Action<StreamWriter> json)
    {
        if (options.Filter.Length != 0)
        {
            return;
        }

        string name = type.Name.Replace("Benchmarks", "", StringComparison.Ordinal);
        using (var file = new StreamWriter(Path.Combine(Repository.Results, $"{name}.md")))
        {
            file.WriteLine($"{Repository.HostLine} Command: `make bench{(options.Full ? " FULL=1" : "")}`.");
            file.WriteLine();
            markdown(file);
        }

        using var data = new StreamWriter(Path.Combine(Repository.Results, $"{name}.json"));
        json(data);
    }
}
