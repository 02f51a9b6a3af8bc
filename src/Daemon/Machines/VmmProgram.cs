using System.Diagnostics;
using System.Text;
using Microsoft.Extensions.Options;
using Vmm.Daemon.Hosting;

namespace Vmm.Daemon.Machines;

/// <summary>How a command of vmm's went.</summary>
internal sealed record VmmResult(int ExitCode, string Output, string Error);

/// <summary>Runs commands of vmm's: machines are made, started anew and removed by vmm alone, as on the command line.</summary>
internal sealed partial class VmmProgram(DaemonPaths paths, IOptions<DaemonOptions> options, ILogger<VmmProgram> logger)
{
    private const int MostText = 64 << 10;

    // The rest of a pipe that a process in the background kept open is not waited for.
    private static readonly TimeSpan LastWords = TimeSpan.FromMilliseconds(300);

    /// <param name="hasTime">It may take as long as it likes: it waits for a guest.</param>
    /// <exception cref="MachineException">vmm cannot be run, does not end, or refuses: what it said is the message.</exception>
    public async Task<VmmResult> RunAsync(IEnumerable<string> arguments, bool hasTime = false)
    {
        using Process process = Start(arguments);
        process.StandardInput.Close();
        Task<string> output = ReadAsync(process.StandardOutput), error = ReadAsync(process.StandardError);
        using var limit = new CancellationTokenSource(hasTime ? Timeout.InfiniteTimeSpan : options.Value.StartTimeout);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            throw new MachineException("failed", $"vmm did not come to an end within {options.Value.StartTimeout.TotalSeconds:0.###} s");
        }

        await Task.WhenAny(Task.WhenAll(output, error), Task.Delay(LastWords));
        var result = new VmmResult(process.ExitCode, Said(output), Said(error));
        LogRan(process.StartInfo.ArgumentList, result.ExitCode);
        return result.ExitCode == 0 ? result : throw Refusal(result);
    }

    /// <summary>Runs one whose output is the response, until it ends or the client goes.</summary>
    /// <exception cref="MachineException">vmm refuses before it has written anything.</exception>
    public async Task CopyAsync(IEnumerable<string> arguments, HttpResponse response, string type, CancellationToken gone)
    {
        using Process process = Start(arguments);
        process.StandardInput.Close();
        Task<string> error = ReadAsync(process.StandardError);
        try
        {
            byte[] buffer = new byte[16 << 10];
            Stream output = process.StandardOutput.BaseStream;
            for (int read; (read = await output.ReadAsync(buffer, gone)) > 0;)
            {
                response.ContentType = type;
                await response.Body.WriteAsync(buffer.AsMemory(0, read), gone);
                await response.Body.FlushAsync(gone);
            }

            await process.WaitForExitAsync(gone);
            if (process.ExitCode != 0 && !response.HasStarted)
            {
                throw Refusal(new VmmResult(process.ExitCode, "", (await error).TrimEnd('\n')));
            }

            response.ContentType ??= type;
        }
        catch (OperationCanceledException) when (gone.IsCancellationRequested)
        {
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill();
            }
        }
    }

    /// <exception cref="MachineException">There is no vmm.</exception>
    private Process Start(IEnumerable<string> arguments)
    {
        string program = paths.Program
            ?? throw new MachineException("failed", "there is no vmm beside vmmd nor on PATH; Vmmd:Program says where it is");
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = "/",
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        Clean(start.Environment);
        try
        {
            return Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            throw new MachineException("failed", $"{program}: {error.Message}");
        }
    }

    private static async Task<string> ReadAsync(StreamReader stream)
    {
        var text = new StringBuilder();
        char[] buffer = new char[4096];
        for (int read; (read = await stream.ReadAsync(buffer)) > 0;)
        {
            text.Append(buffer, 0, Math.Min(read, MostText - text.Length));
        }

        return text.ToString();
    }

    private static string Said(Task<string> text) => text.IsCompletedSuccessfully ? text.Result.TrimEnd('\n') : "";

    // 64: a mistake in what was asked for; else the host could not.
    private static MachineException Refusal(VmmResult result)
    {
        string line = result.Error.Split('\n').LastOrDefault(static each => each.Length > 0) ?? $"vmm ended with {result.ExitCode}";
        return new MachineException(result.ExitCode == 64 ? "refused" : "failed", line.StartsWith("vmm: ", StringComparison.Ordinal) ? line[5..] : line);
    }

    /// <summary>What systemd and .NET told vmmd is not for machines.</summary>
    private void Clean(IDictionary<string, string?> environment)
    {
        foreach (string name in environment.Keys.ToList())
        {
            if (name is "NOTIFY_SOCKET" or "WATCHDOG_USEC" or "WATCHDOG_PID" or "LISTEN_PID" or "LISTEN_FDS" or "LISTEN_FDNAMES"
                || name.StartsWith("Vmmd__", StringComparison.OrdinalIgnoreCase)
                || name.StartsWith("ASPNETCORE_", StringComparison.Ordinal))
            {
                environment.Remove(name);
            }
        }

        environment["XDG_STATE_HOME"] = paths.StateHome;
        environment["XDG_RUNTIME_DIR"] = paths.RuntimeHome;
    }

    [LoggerMessage(20, LogLevel.Debug, "vmm {Arguments} ended with {ExitCode}")]
    private partial void LogRan(IEnumerable<string> arguments, int exitCode);
}
