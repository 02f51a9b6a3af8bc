using System.Text;
using ArchUnitNET.Domain;
using ArchUnitNET.Loader;

namespace Vmm.Tests.Architecture;

/// <summary>Which folders of src/ use which, read from the compiled assemblies.</summary>
internal sealed class FolderGraph
{
    private readonly SortedDictionary<string, SortedDictionary<string, SortedSet<string>>> _arrows = new(StringComparer.Ordinal);

    /// <param name="folderOf">The folder of a namespace; null for one that is not looked at.</param>
    public FolderGraph(ArchUnitNET.Domain.Architecture architecture, Func<string, string?> folderOf)
    {
        foreach (IType type in architecture.Types)
        {
            if (folderOf(type.Namespace?.FullName ?? "") is not { } from)
            {
                continue;
            }

            // A type parameter of the framework's counts to the folder where it was found first.
            foreach (IType target in type.Dependencies.Select(dependency => dependency.Target).Where(target => target is not GenericParameter))
            {
                if (folderOf(target.Namespace?.FullName ?? "") is { } to && to != from)
                {
                    Users(from, to).Add($"{Simple(type.Name)} uses {Simple(target.Name)}");
                }
            }
        }
    }

    public static ArchUnitNET.Domain.Architecture Load() => new ArchLoader()
        .LoadAssemblies(
            typeof(Vmm.Machines.Machine).Assembly,
            typeof(Vmm.Boot.KernelImage).Assembly,
            typeof(Vmm.Devices.Bus.AddressBus).Assembly)
        .Build();

    public IEnumerable<(string From, string To)> Arrows =>
        _arrows.SelectMany(from => from.Value.Keys.Select(to => (from.Key, to)));

    /// <summary>What makes an arrow: <c>VcpuThread uses ErrnoException</c>.</summary>
    public IReadOnlyCollection<string> Reasons(string from, string to) => Users(from, to);

    /// <summary>A way from a folder back to itself, as its names in order; null where there is none.</summary>
    public IReadOnlyList<string>? FindCycle()
    {
        var done = new HashSet<string>(StringComparer.Ordinal);
        var path = new List<string>();
        return _arrows.Keys.Select(folder => Follow(folder, path, done)).FirstOrDefault(cycle => cycle is not null);
    }

    /// <summary>A line for each folder: what it uses.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        foreach ((string from, SortedDictionary<string, SortedSet<string>> to) in _arrows.Where(pair => pair.Value.Count > 0))
        {
            text.Append(from).Append(" -> ").AppendJoin(", ", to.Keys).Append('\n');
        }

        return text.ToString();
    }

    private List<string>? Follow(string folder, List<string> path, HashSet<string> done)
    {
        int seen = path.IndexOf(folder);
        if (seen >= 0)
        {
            return [.. path[seen..], folder];
        }

        if (!done.Add(folder) || !_arrows.TryGetValue(folder, out SortedDictionary<string, SortedSet<string>>? next))
        {
            return null;
        }

        path.Add(folder);
        foreach (string to in next.Keys)
        {
            if (Follow(to, path, done) is { } cycle)
            {
                return cycle;
            }
        }

        path.RemoveAt(path.Count - 1);
        return null;
    }

    private SortedSet<string> Users(string from, string to)
    {
        if (!_arrows.TryGetValue(from, out SortedDictionary<string, SortedSet<string>>? targets))
        {
            _arrows[from] = targets = new(StringComparer.Ordinal);
        }

        if (!targets.TryGetValue(to, out SortedSet<string>? users))
        {
            targets[to] = users = new(StringComparer.Ordinal);
        }

        return users;
    }

    private static string Simple(string name) => name.Split('`')[0];
}
