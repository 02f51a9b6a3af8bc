using Vmm.Host;

namespace Vmm.Named.Limits;

/// <summary>Where a process is among cgroups: the directory that is its own, and the mount that it is below.</summary>
internal sealed record CgroupPlace(string Mount, string Directory);

/// <summary>The hierarchies of cgroups that a process is in: v2 has one, v1 one for each controller, and a host may have both.</summary>
internal sealed class CgroupMounts
{
    private readonly Dictionary<string, CgroupPlace> _controllers = new(StringComparer.Ordinal);

    /// <summary>Of v2; null where it is not mounted.</summary>
    public CgroupPlace? Unified { get; private init; }

    /// <summary>Of a controller of v1; null where it has no hierarchy.</summary>
    public CgroupPlace? Find(string controller) => _controllers.GetValueOrDefault(controller);

    /// <exception cref="HostException">/proc is not there.</exception>
    public static CgroupMounts OfThisProcess()
    {
        try
        {
            return Parse(File.ReadAllText("/proc/self/mountinfo"), File.ReadAllText("/proc/self/cgroup"));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new HostException("/proc/self/cgroup cannot be read");
        }
    }

    /// <param name="mounts">/proc/self/mountinfo (proc(5)).</param>
    /// <param name="groups">/proc/self/cgroup (cgroups(7)): <c>4:memory:/a/b</c>, and <c>0::/a/b</c> of v2.</param>
    public static CgroupMounts Parse(string mounts, string groups)
    {
        var own = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string line in groups.Split('\n'))
        {
            if (line.Split(':', 3) is [_, var controllers, var path])
            {
                foreach (string controller in controllers.Split(','))
                {
                    own[controller] = path;
                }
            }
        }

        CgroupPlace? unified = null;
        var found = new Dictionary<string, CgroupPlace>(StringComparer.Ordinal);
        foreach (string line in mounts.Split('\n'))
        {
            string[] words = line.Split(' ');
            int dash = Array.IndexOf(words, "-");
            if (dash < 5 || dash + 3 >= words.Length)
            {
                continue;
            }

            (string root, string mount, string type) = (words[3], words[4], words[dash + 1]);
            if (type == "cgroup2" && own.TryGetValue("", out string? path))
            {
                unified ??= Place(root, mount, path);
            }
            else if (type == "cgroup")
            {
                foreach (string option in words[dash + 3].Split(','))
                {
                    if (own.TryGetValue(option, out string? at))
                    {
                        found.TryAdd(option, Place(root, mount, at));
                    }
                }
            }
        }

        var result = new CgroupMounts { Unified = unified };
        foreach ((string controller, CgroupPlace place) in found)
        {
            result._controllers.Add(controller, place);
        }

        return result;
    }

    /// <param name="root">The group that is seen at the mount, in a container for instance.</param>
    private static CgroupPlace Place(string root, string mount, string path)
    {
        string below = root != "/" && path.StartsWith(root, StringComparison.Ordinal) ? path[root.Length..] : path;
        return new CgroupPlace(mount, below is "" or "/" ? mount : mount + below);
    }
}
