using System.Globalization;

namespace Vmm.Guest.Tests.Harness;

/// <summary>What the kernel tells about a process: /proc/PID/stat (proc(5)).</summary>
internal static class ProcessInfo
{
    private const int ForegroundGroup = 5, UserTime = 11, SystemTime = 12;       // counted from the state, which is 0
    private const int TicksPerSecond = 100;                 // sysconf(_SC_CLK_TCK) of Linux on x86

    /// <summary>S, R, D ... and T for one that is stopped.</summary>
    public static char State(int pid) => Fields($"/proc/{pid}/stat")[0][0];

    /// <summary>The process group in the foreground of its terminal.</summary>
    public static int Foreground(int pid) =>
        int.Parse(Fields($"/proc/{pid}/stat")[ForegroundGroup], CultureInfo.InvariantCulture);

    /// <summary>Bytes of its memory that are resident, those of shared mappings included: VmRSS of /proc/PID/status, added up anew
    /// from smaps_rollup because the former is kept per thread and lags.</summary>
    public static long Resident(int pid)
    {
        const string Label = "Rss:";
        string line = File.ReadLines($"/proc/{pid}/smaps_rollup").First(line => line.StartsWith(Label, StringComparison.Ordinal));
        return long.Parse(line.AsSpan(Label.Length, line.Length - Label.Length - 2).Trim(), CultureInfo.InvariantCulture) << 10;
    }

    /// <summary>CPU time of those threads whose names begin so.</summary>
    public static TimeSpan CpuTimeOf(int pid, string threads)
    {
        double ticks = 0;
        foreach (string task in Directory.GetDirectories($"/proc/{pid}/task"))
        {
            if (File.ReadAllText($"{task}/comm").StartsWith(threads, StringComparison.Ordinal))
            {
                string[] fields = Fields($"{task}/stat");
                ticks += double.Parse(fields[UserTime], CultureInfo.InvariantCulture)
                    + double.Parse(fields[SystemTime], CultureInfo.InvariantCulture);
            }
        }

        return TimeSpan.FromSeconds(ticks / TicksPerSecond);
    }

    /// <summary>Waits for what must come.</summary>
    /// <exception cref="InvalidOperationException">It does not.</exception>
    public static void WaitUntil(Func<bool> condition, string what, Func<string>? said = null)
    {
        DateTime end = DateTime.UtcNow + Product.Patience;
        while (!condition())
        {
            if (DateTime.UtcNow > end)
            {
                throw new InvalidOperationException($"time is up while waiting for: {what}\n{said?.Invoke()}");
            }

            Thread.Sleep(20);
        }
    }

    private static string[] Fields(string path)
    {
        string text = File.ReadAllText(path);
        return text[(text.LastIndexOf(')') + 2)..].Split(' ');
    }
}
