using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Named.Logs;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm logs</c>: what a machine said, on the streams on which it said it.</summary>
internal static class MachineLogsCommand
{
    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(100);

    public static Command Create()
    {
        var machine = new Argument<string>(MachineCommands.Argument) { Description = "A name of a machine" };
        var follow = new Option<bool>("--follow", "-f") { Description = "Go on until the machine has ended" };
        var since = new Option<string?>("--since")
        {
            Description = "Only what it said since then: a time ago, as 90s, 5m or 1h, or a moment, as 2026-11-27T08:00:00Z",
            HelpName = "TIME",
        };
        var tail = new Option<string?>("--tail", "-n") { Description = "Only the last lines", HelpName = "N" };
        var timestamps = new Option<bool>("--timestamps", "-t") { Description = "Begin each line with its time (UTC)" };
        var command = new Command("logs", "Print what a machine said: its console, or the output of its command");
        command.Arguments.Add(machine);
        foreach (Option option in (Option[])[follow, since, tail, timestamps])
        {
            command.Options.Add(option);
        }

        command.SetAction(result =>
        {
            DateTime? from = result.GetValue(since) is { } text ? ParseSince(text, DateTime.UtcNow) : null;
            int? last = result.GetValue(tail) is { } count ? ParseTail(count) : null;
            int code = ExitCodes.Success;
            OutputReader.Follow(() => code = MachineCommands.ForEach([result.GetRequiredValue(machine)], (_, folder) =>
            {
                MachineActions.CheckHasLog(folder);
                Print(folder, new LogPrinter(from, result.GetValue(timestamps)), last, result.GetValue(follow));
            }));
            return code;
        });
        return command;
    }

    /// <exception cref="UsageException">It is neither.</exception>
    internal static DateTime ParseSince(string text, DateTime now)
    {
        if (DateTime.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal | DateTimeStyles.AssumeLocal, out DateTime moment)
            && text.Contains('-', StringComparison.Ordinal))
        {
            return moment;
        }

        try
        {
            return now - TimeSpanText.Parse(text, "--since");
        }
        catch (UsageException)
        {
            throw new UsageException($"--since {text}: is no time; write for instance 90s, 5m, 1h or 2026-11-27T08:00:00Z");
        }
    }

    private static int ParseTail(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int count)
            ? count
            : throw new UsageException($"--tail {text}: takes a number of lines");

    private static void Print(MachineFolder folder, LogPrinter printer, int? last, bool follows)
    {
        using var reader = new LogReader(folder.Path);
        if (last is { } count)
        {
            var lines = new Queue<byte[]>();
            reader.ReadOn(line =>
            {
                if (printer.Wants(line))
                {
                    lines.Enqueue(line.ToArray());
                    if (lines.Count > count)
                    {
                        lines.Dequeue();
                    }
                }
            });
            foreach (byte[] line in lines)
            {
                printer.Print(line);
            }
        }

        while (true)
        {
            // First this, then what it said last.
            bool isRunning = follows && folder.IsRunning;
            reader.ReadOn(line =>
            {
                if (printer.Wants(line))
                {
                    printer.Print(line);
                }
            });
            if (!isRunning)
            {
                return;
            }

            OutputReader.Wait(Look);
        }
    }
}

/// <summary>Prints lines of a log.</summary>
/// <param name="since">UTC; only what was said from then on.</param>
/// <param name="timestamps">The time in front.</param>
internal sealed unsafe class LogPrinter(DateTime? since, bool timestamps)
{
    private const int StandardOutput = 1, StandardError = 2;

    private readonly bool[] _isInside = new bool[3];
    private DateTime? _last;

    public bool Wants(ReadOnlySpan<byte> line)
    {
        // A line without a time is as old as the one before it.
        _last = LogFormat.Read(line).Time ?? _last;
        return since is null || _last >= since;
    }

    /// <exception cref="ErrnoException">Nobody reads it.</exception>
    public void Print(ReadOnlySpan<byte> line)
    {
        LogLine parts = LogFormat.Read(line);
        int fd = parts.IsError ? StandardError : StandardOutput;
        ReadOnlySpan<byte> time = timestamps && !_isInside[fd] && parts.Time is not null ? line[..(line.IndexOf((byte)' ') + 1)] : [];
        _isInside[fd] = !parts.IsWhole;
        Write(fd, [.. time, .. line[parts.TextAt..], .. parts.IsWhole ? "\n"u8 : []]);
    }

    private static void Write(int fd, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            long written;
            fixed (byte* start = bytes)
            {
                // SAFETY: as many bytes as the span has.
                written = LibC.write(fd, start, bytes.Length);
            }

            if (written < 0 && Marshal.GetLastPInvokeError() is var errno and not ErrnoException.EINTR)
            {
                throw new ErrnoException(fd == StandardOutput ? "standard output" : "standard error", errno);
            }

            bytes = bytes[(int)Math.Max(written, 0)..];
        }
    }
}
