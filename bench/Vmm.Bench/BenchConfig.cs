using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Engines;
using BenchmarkDotNet.Filters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Order;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Perfolizer.Horology;
using Vmm.Assist;

namespace Vmm.Bench;

/// <summary>How BenchmarkDotNet runs here.</summary>
internal static class BenchConfig
{
    /// <summary>For things of nanoseconds.</summary>
    /// <remarks>In this process, by emitted code: BenchmarkDotNet's default builds a project and starts a process for
    /// each benchmark, which costs minutes and gains nothing here: there is one runtime to measure, and this process is
    /// set up for it (Directory.Build.props). The price is that benchmarks share a heap; as none of them may allocate,
    /// that is no price.</remarks>
    public static IConfig Operations(BenchOptions options, ILogger log) => Common(options, log)
        .AddDiagnoser(MemoryDiagnoser.Default)
        .AddColumn(StatisticColumn.Min, StatisticColumn.Median, StatisticColumn.Max)
        .AddJob(options.Full
            ? InProcess.WithWarmupCount(5).WithIterationCount(30).WithIterationTime(TimeInterval.FromMilliseconds(250))
            : InProcess.WithWarmupCount(2).WithIterationCount(7).WithIterationTime(TimeInterval.FromMilliseconds(40)));

    /// <summary>For batches of thousands of samples.</summary>
    public static IConfig Guests(BenchOptions options, ILogger log) => Common(options, log)
        .AddJob(InProcess.WithStrategy(RunStrategy.Monitoring).WithInvocationCount(1).WithUnrollFactor(1)
            .WithWarmupCount(1).WithIterationCount(options.Full ? 30 : 5));

    private static Job InProcess => Job.Default.WithToolchain(InProcessEmitToolchain.Instance);

    public static ManualConfig Common(BenchOptions options, ILogger log) => ManualConfig.CreateEmpty()
        .AddLogger(log)
        .AddColumnProvider(DefaultColumnProviders.Params, DefaultColumnProviders.Metrics)
        .AddFilter(new SimpleFilter(each => options.Wants(
            each.Descriptor.Type.Name, string.Join(' ', each.Parameters.Items.Select(item => item.Value)))))
        .AddEventProcessor(new Progress())
        .WithSummaryStyle(SummaryStyle.Default.WithMaxParameterColumnWidth(60))
        .WithOrderer(new DefaultOrderer(SummaryOrderPolicy.Declared))
        .WithOptions(ConfigOptions.DisableLogFile | ConfigOptions.JoinSummary | ConfigOptions.DontOverwriteResults)
        .WithArtifactsPath(Path.Combine(Repository.Root, "out", "bench"));

    private sealed class Progress : BenchmarkDotNet.EventProcessors.EventProcessor
    {
        public override void OnStartRunBenchmark(BenchmarkCase benchmarkCase) => System.Console.Error.WriteLine(
            $"bench: {benchmarkCase.Descriptor.Type.Name} {benchmarkCase.Parameters.DisplayInfo}");
    }
}
