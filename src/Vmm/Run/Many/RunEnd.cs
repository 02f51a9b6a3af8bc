using System.Globalization;
using System.Text;
using System.Text.Json;
using Vmm.Machines;
using Vmm.Run.Results;

namespace Vmm.Run.Many;

/// <summary>The result of a vmm that has ended: its result file; its output and exit code where there is none, and where it says that the run
/// passed, and vmm did not end with 0 (something failed afterwards).</summary>
internal static class RunEnd
{
    private const int MostTail = 256 << 10;

    /// <param name="result">The result file.</param>
    /// <param name="output">What it wrote to standard output and standard error.</param>
    /// <param name="code">Its exit code.</param>
    public static RunResult Of(RunItem item, string result, string output, int code, TimeSpan elapsed)
    {
        try
        {
            using FileStream file = File.OpenRead(result);
            if (JsonSerializer.Deserialize(file, RunResultJson.Default.RunResult) is { } told && (told.Verdict != RunOutcome.Passed || code == 0))
            {
                return told with { Name = item.Name };
            }
        }
        catch (Exception error) when (error is JsonException or IOException)
        {
            // It did not get so far: handled below.
        }

        string said = Tail(output).Split('\n', StringSplitOptions.RemoveEmptyEntries).LastOrDefault() ?? "";
        return Without(
            item,
            code == ExitCodes.SignalBase + LibC.SIGKILL
                ? "vmm was killed by SIGKILL; if that was the host's kernel, for lack of memory, 'dmesg' tells"
                : said.StartsWith("vmm: ", StringComparison.Ordinal)
                ? said["vmm: ".Length..]
                : string.Create(CultureInfo.InvariantCulture, $"vmm ended with {code} and left no result"),
            code,
            elapsed);
    }

    /// <summary>For a run whose vmm wrote no result: a failure of vmm, or of its machine.</summary>
    public static RunResult Without(RunItem item, string message, int code, TimeSpan elapsed) => new()
    {
        Name = item.Name,
        Command = item.Command,
        Verdict = RunOutcome.VmmFailed,
        Code = code,
        Message = message,
        Started = DateTimeOffset.UtcNow - elapsed,
        Times = new RunTimes { Total = elapsed.TotalSeconds },
        Kernel = new RunKernel(item.Kernel, null),
    };

    /// <summary>The end of a file that may be large.</summary>
    public static string Tail(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            file.Position = Math.Max(0, file.Length - MostTail);
            byte[] bytes = new byte[Math.Min(file.Length, MostTail)];
            int length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
            return Encoding.UTF8.GetString(bytes, 0, length);
        }
        catch (IOException)
        {
            return "";
        }
    }
}
