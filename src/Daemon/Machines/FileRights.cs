using Vmm.Daemon.Hosting;

namespace Vmm.Daemon.Machines;

/// <summary>Which files of the host a user may name. vmmd opens none itself; vmm does, with the rights of vmmd's user, which others must
/// not borrow: theirs are below Vmmd:Files only.</summary>
internal sealed class FileRights(IReadOnlyList<string> directories, Peer peer)
{
    private readonly List<string> _directories = [.. directories.Select(Resolve).OfType<string>()];

    /// <returns>What is wrong with it; null if nothing is.</returns>
    public string? Fault(string path)
    {
        if (!Path.IsPathFullyQualified(path) || path.Contains('\0', StringComparison.Ordinal))
        {
            return $"{path}: not an absolute path";
        }

        if (peer.IsAdministrator)
        {
            return null;
        }

        // After links have been followed; a part that is missing cannot be opened either.
        return Resolve(path) is { } real && _directories.Exists(each => real == each || real.StartsWith(each + "/", StringComparison.Ordinal))
            ? null
            : $"{path}: not below one of the directories that vmmd's administrator has opened for it (Vmmd:Files)";
    }

    private static string? Resolve(string path)
    {
        string real = "/";
        var parts = new Stack<string>(path.Split('/', StringSplitOptions.RemoveEmptyEntries).Reverse());
        for (int links = 0; parts.TryPop(out string? part);)
        {
            if (part == ".")
            {
                continue;
            }

            if (part == "..")
            {
                real = Path.GetDirectoryName(real) ?? "/";
                continue;
            }

            string next = Path.Combine(real, part);
            if (new FileInfo(next).LinkTarget is not { } target)
            {
                if (!Path.Exists(next))
                {
                    return null;
                }

                real = next;
                continue;
            }

            if (++links > 40)       // as path_resolution(7)
            {
                return null;
            }

            real = target.StartsWith('/') ? "/" : real;
            foreach (string each in target.Split('/', StringSplitOptions.RemoveEmptyEntries).Reverse())
            {
                parts.Push(each);
            }
        }

        return real;
    }
}
