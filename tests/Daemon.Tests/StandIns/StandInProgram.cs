using System.Diagnostics;
using System.Globalization;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Tests.StandIns;

/// <summary>In vmm's place: makes machines that are processes of their own, of the kind that tests have in theirs.</summary>
internal static class StandInProgram
{
    public static async Task<int> Main(string[] args)
    {
        string state = Environment.GetEnvironmentVariable("XDG_STATE_HOME")!, runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR")!;
        string Home(string name) => Path.Combine(state, "vmm", "machines", name);
        switch (args)
        {
            case ["serve", var name, var memory, var cpus]:
                await using (var machine = new StandInMachine(
                    state, runtime, name, ulong.Parse(memory, CultureInfo.InvariantCulture), int.Parse(cpus, CultureInfo.InvariantCulture)))
                {
                    // Never for longer than a test.
                    bool isLong = Environment.GetEnvironmentVariable("VMMD_KILLS") is { Length: > 0 };
                    await machine.Ended.WaitAsync(TimeSpan.FromMinutes(isLong ? 20 : 2));
                }

                return 0;
            case ["many", var count]:
                // For measurements by hand: machines of this process, until it is ended.
                List<StandInMachine> machines = [.. Enumerable.Range(0, int.Parse(count, CultureInfo.InvariantCulture))
                    .Select(i => new StandInMachine(state, runtime, $"m{i}"))];
                await Task.WhenAll(machines.Select(static machine => machine.Ended));
                return 0;
            case ["start", var name]:
                return Serve(runtime, name, 256L << 20, 1);
            case ["stop" or "kill", .., var name]:
                return await EndAsync(Path.Combine(runtime, "vmm", name), args[0]);
            case ["rm", .., var name]:
                Directory.Delete(Home(name), recursive: true);
                return 0;
            case ["logs", .., var name]:
                Console.WriteLine($"hello from {name}");
                return 0;
            default:
                if (args.Contains("--kernel=/no/such"))
                {
                    Console.Error.WriteLine("vmm: --kernel /no/such: no such file");
                    return 64;
                }

                string made = Value(args, "--name=");
                Directory.CreateDirectory(Home(made));
                await File.WriteAllLinesAsync(Path.Combine(Home(made), "arguments"), args);
                return Serve(runtime, made, Sizes.TryParse(Value(args, "--mem="), out long bytes) ? bytes : 0, int.Parse(Value(args, "--cpus="), CultureInfo.InvariantCulture));
        }
    }

    /// <summary>A script that is this program.</summary>
    public static string Install(string directory)
    {
        string path = Path.Combine(directory, "vmm");
        File.WriteAllText(path, $"#!/bin/sh\nexec '{Environment.ProcessPath}' '{typeof(StandInProgram).Assembly.Location}' \"$@\"\n");
        File.SetUnixFileMode(path, (UnixFileMode)0x1ed);     // 0755
        return path;
    }

    private static async Task<int> EndAsync(string directory, string how)
    {
        await using ControlLink link = await ControlLink.ConnectAsync(
            Path.Combine(directory, "control.sock"), TimeSpan.FromSeconds(10), static _ => { }, CancellationToken.None);
        await link.AskAsync(how, null, TimeSpan.FromSeconds(10), CancellationToken.None);
        await link.Ended;
        while (Directory.Exists(directory))
        {
            await Task.Delay(5);
        }

        return 0;
    }

    private static int Serve(string runtime, string name, long memory, int cpus)
    {
        var start = new ProcessStartInfo(
            Environment.ProcessPath!,
            [typeof(StandInProgram).Assembly.Location, "serve", name, $"{memory}", $"{cpus}"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        using Process? process = Process.Start(start);
        for (int i = 0; i < 2000; i++)
        {
            if (File.Exists(Path.Combine(runtime, "vmm", name, "control.sock")))
            {
                return 0;
            }

            Thread.Sleep(10);
        }

        return 70;
    }

    private static string Value(string[] args, string option) =>
        args.First(each => each.StartsWith(option, StringComparison.Ordinal))[option.Length..];
}
