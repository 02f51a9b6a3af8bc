using System.Globalization;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Named.Limits;

/// <summary>A control group of one machine, with one or more kinds of limits: a directory of cgroup v2, or of a controller of v1.
/// </summary>
/// <param name="path">Below /sys/fs/cgroup.</param>
internal sealed class Cgroup(string path)
{
    /// <summary>Microseconds over which processor time is counted.</summary>
    private const long Period = 100_000;

    private const string Processes = "cgroup.procs", Subtree = "cgroup.subtree_control";

    public string Path { get; } = path;

    private bool IsV2 => File.Exists(System.IO.Path.Combine(Path, "cgroup.controllers"));

    /// <summary>Makes the groups that the limits need, below those in which this process is or above them, as far as the host lets this
    /// user, and moves this process there.</summary>
    /// <param name="name">The machine's.</param>
    /// <returns>Their paths.</returns>
    /// <exception cref="HostException">The host lets this user have none.</exception>
    public static IReadOnlyList<string> Enter(string name, MachineLimits limits) => Enter(name, limits, CgroupMounts.OfThisProcess(), Environment.ProcessId);

    /// <inheritdoc cref="Enter(string, MachineLimits)"/>
    /// <param name="process">The one that is moved.</param>
    internal static IReadOnlyList<string> Enter(string name, MachineLimits limits, CgroupMounts mounts, int process)
    {
        IReadOnlyList<LimitKind> kinds = limits.Kinds;
        if (kinds.Count == 0)
        {
            return [];
        }

        string directory = $"vmm-{name}";
        if (mounts.Unified is { } unified && Make(unified, directory, [.. kinds.Select(static kind => kind.Controller)], process) is { } all)
        {
            all.Set(limits);
            return [all.Path];
        }

        var made = new List<string>();
        foreach (LimitKind kind in kinds)
        {
            if (mounts.Find(kind.OldController) is not { } place)
            {
                throw new HostException(
                    $"{kind.Option}: this host lets this user have no cgroup with the controller '{kind.Controller}': start vmm where one is "
                        + "delegated: systemd-run --user --scope -p Delegate=yes vmm ...");
            }

            Cgroup group = Make(place, directory, [], process)
                ?? throw new HostException($"{kind.Option}: {place.Directory}: this user may make no cgroup there; its owner has to give it away");
            group.Set(limits);
            made.Add(group.Path);
        }

        return made;
    }

    /// <summary>Gives it other limits.</summary>
    /// <param name="limits">A kind that is not limited any more is null.</param>
    /// <exception cref="HostException">It cannot be written.</exception>
    public void Set(MachineLimits limits) => Set(limits, static () => BlockDevices.Find());

    /// <param name="devices">Of the host, as <c>254:0</c>.</param>
    internal void Set(MachineLimits limits, Func<IReadOnlyList<string>> devices)
    {
        SetIo(limits.Io, devices);
        string quota = limits.Cpu is { } cpu ? ((long)(cpu * Period)).ToString(CultureInfo.InvariantCulture) : "max";
        if (IsV2)
        {
            WriteIfThere("cpu.max", string.Create(CultureInfo.InvariantCulture, $"{quota} {Period}"));
            WriteIfThere("memory.high", limits.MemoryHigh?.ToString(CultureInfo.InvariantCulture) ?? "max");
            return;
        }

        WriteIfThere("cpu.cfs_period_us", Period.ToString(CultureInfo.InvariantCulture));
        WriteIfThere("cpu.cfs_quota_us", quota == "max" ? "-1" : quota);
        WriteIfThere("memory.soft_limit_in_bytes", limits.MemoryHigh?.ToString(CultureInfo.InvariantCulture) ?? "-1");
    }

    /// <summary>Does it limit that?</summary>
    public bool Has(LimitKind kind) => IsThere(kind.File) || IsThere(kind.OldFile);

    /// <summary>Once no process is in it.</summary>
    public void Remove()
    {
        try
        {
            Directory.Delete(Path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // It is gone, or a program that served the machine is still ending; an empty group costs nothing.
        }
    }

    /// <returns>Null where this user may make none.</returns>
    private static Cgroup? Make(CgroupPlace place, string name, string[] controllers, int process)
    {
        for (string? at = place.Directory; at is not null && at.StartsWith(place.Mount, StringComparison.Ordinal); at = System.IO.Path.GetDirectoryName(at))
        {
            string path = System.IO.Path.Combine(at, name);
            try
            {
                if (!Enable(at, controllers))
                {
                    continue;
                }

                Directory.CreateDirectory(path);
                File.WriteAllText(System.IO.Path.Combine(path, Processes), process.ToString(CultureInfo.InvariantCulture));
                return new Cgroup(path);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                new Cgroup(path).Remove();
            }
        }

        return null;
    }

    /// <summary>Groups below may have controllers only where the one above gives them on, which it cannot while processes are in it.
    /// </summary>
    private static bool Enable(string at, string[] controllers)
    {
        if (controllers.Length == 0)
        {
            return true;
        }

        string subtree = System.IO.Path.Combine(at, Subtree);
        string[] there = File.ReadAllText(System.IO.Path.Combine(at, "cgroup.controllers")).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        string[] given = File.ReadAllText(subtree).Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
        if (controllers.Any(controller => !there.Contains(controller)))
        {
            return false;
        }

        foreach (string controller in controllers.Except(given))
        {
            File.WriteAllText(subtree, "+" + controller);
        }

        return true;
    }

    private bool IsThere(string file) => File.Exists(System.IO.Path.Combine(Path, file));

    /// <summary>Each device on its own; a limit of v1 is taken away by 0.</summary>
    private void SetIo(IoLimit? limit, Func<IReadOnlyList<string>> devices)
    {
        if (!Has(LimitKind.Io))
        {
            return;
        }

        IReadOnlyList<string> there = devices();
        if (limit is not null && there.Count == 0)
        {
            throw new HostException($"{MachineLimits.IoOption}: this host shows no block device in /sys/block, so there is none to limit");
        }

        string bandwidth = Number(limit?.Bandwidth), operations = Number(limit?.Operations);
        foreach (string device in there)
        {
            WriteIfThere("io.max", $"{device} rbps={bandwidth} wbps={bandwidth} riops={operations} wiops={operations}");
            foreach (string way in (string[])["read", "write"])
            {
                WriteIfThere($"blkio.throttle.{way}_bps_device", $"{device} {bandwidth}");
                WriteIfThere($"blkio.throttle.{way}_iops_device", $"{device} {operations}");
            }
        }

        string Number(ulong? value) => value?.ToString(CultureInfo.InvariantCulture) ?? (IsV2 ? "max" : "0");
    }

    private void WriteIfThere(string file, string value)
    {
        string path = System.IO.Path.Combine(Path, file);
        try
        {
            if (File.Exists(path))
            {
                File.WriteAllText(path, value);
            }
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new HostException($"{path}: {PrintableText.Of(value)}: {why}");
        }
    }
}
