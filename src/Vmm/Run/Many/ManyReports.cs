using System.Text.Json;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Results;

namespace Vmm.Run.Many;

/// <summary>The report files of many runs, opened before anything starts, so that a mistyped path does not cost an hour.</summary>
internal sealed class ManyReports : IDisposable
{
    private readonly RunReports _asked;
    private readonly (int Number, int Of)? _shard;
    private readonly OutputFile? _result, _junit;

    /// <exception cref="UsageException">A file cannot be written.</exception>
    public ManyReports(ManyOptions options)
    {
        RunReports asked = options.Reports;
        (_asked, _shard) = (asked, options.Shard);
        _result = asked.Result is { } result ? OutputFile.Open(result, "--result") : null;
        _junit = asked.JUnit is { } junit ? OutputFile.Open(junit, "--junit") : null;
        foreach ((string? directory, string option) in ((string?, string)[])[(asked.Log, "--log"), (asked.Bundle, "--bundle")])
        {
            MakeDirectory(directory, option);
        }
    }

    /// <summary>The options by which one run writes its own reports.</summary>
    /// <param name="place">Of the item in the list, from 0.</param>
    public IReadOnlyList<string> OptionsFor(RunItem item, int place)
    {
        string file = RunItems.FileNameOf(item.Name, place);
        return
        [
            .. _asked.Log is { } logs ? (string[])["--log", Path.Combine(logs, $"{file}.log")] : [],
            .. _asked.Bundle is { } bundles ? (string[])["--bundle", Path.Combine(bundles, file)] : [],
        ];
    }

    /// <summary>All runs have ended or were ended: writes the reports.</summary>
    /// <param name="ends">By item; null for those that were not run.</param>
    /// <param name="signal">The signal that ended all; null for none.</param>
    /// <returns>The exit code: 0 when all passed, 1 when one did not, 128 + N when signal N ended it.</returns>
    /// <exception cref="HostException">A file is not complete.</exception>
    public int Conclude(RunResult?[] ends, ManyProgress progress, TimeSpan time, int? signal)
    {
        RunResult[] results = [.. ends.OfType<RunResult>()];
        progress.Summary(results, time, ends.Length - results.Length);
        Write(results);
        return signal is { } number ? ExitCodes.SignalBase + number
            : results.Length == ends.Length && results.All(static each => each.Verdict == RunOutcome.Passed) ? 0
            : 1;
    }

    private void Write(RunResult[] results)
    {
        if (_result is not null)
        {
            JsonSerializer.Serialize(_result, results, RunResultJson.Default.IReadOnlyListRunResult);
            _result.Write("\n"u8);
        }

        if (_junit is not null)
        {
            JUnitReport.Write(_junit, results, _shard);
        }

        foreach (string? failure in (string?[])[_result?.Failure, _junit?.Failure])
        {
            if (failure is not null)
            {
                throw new HostException(failure);
            }
        }
    }

    public void Dispose()
    {
        _result?.Dispose();
        _junit?.Dispose();
    }

    private static void MakeDirectory(string? directory, string option)
    {
        try
        {
            if (directory is not null)
            {
                Directory.CreateDirectory(directory);
            }
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new UsageException($"{option} {directory}: {why}");
        }
    }
}
