using System.Text;
using Vmm.Host;

namespace Vmm.Kernels;

/// <summary>A directory of modules: <c>/lib/modules/RELEASE</c>, a package's, or the tree in which a kernel was built. What a
/// module needs is read from the module itself, so no depmod has to have run.</summary>
internal sealed class ModuleTree
{
    private const long MostModuleBytes = 64 << 20;
    private const int MostModules = 64;

    private readonly Dictionary<string, string> _paths = new(StringComparer.Ordinal);
    private readonly HashSet<string> _builtIn = new(StringComparer.Ordinal);
    private readonly string _root;

    /// <exception cref="UsageException">There are no modules in it, nor a list of what is built in.</exception>
    public ModuleTree(string root)
    {
        _root = root;
        var options = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint };
        if (Directory.Exists(root))
        {
            foreach (string path in Directory.EnumerateFiles(root, "*.ko*", options).Where(IsModule))
            {
                _paths.TryAdd(NameOf(path), path);
            }
        }

        string builtIn = Path.Combine(root, "modules.builtin");
        if (File.Exists(builtIn))
        {
            _builtIn.UnionWith(File.ReadLines(builtIn).Select(NameOf));
        }
        else if (_paths.Count == 0)
        {
            throw new UsageException($"--modules {root}: there are no modules, nor modules.builtin, in it; give /lib/modules/RELEASE");
        }
    }

    /// <summary>Is there a list of what is built in? If not, a feature without a module may still be built in.</summary>
    public bool KnowsBuiltIn => _builtIn.Count > 0;

    public bool IsBuiltIn(string name) => _builtIn.Contains(name);

    /// <summary>Copies a module, and what it needs, unpacked and under their plain names.</summary>
    /// <param name="target">The directory; what is there already is not copied again.</param>
    /// <returns>The files in the order in which they are to be loaded; empty when there is no such module.</returns>
    /// <exception cref="UsageException">One that is needed is missing.</exception>
    public IReadOnlyList<string> Copy(string name, string target)
    {
        var files = new List<string>();
        if (_paths.ContainsKey(name))
        {
            Copy(name, name, target, files, []);
        }

        return files;
    }

    /// <summary>kernel/fs/ext4/ext4.ko.xz is ext4, virtio-rng.ko is virtio_rng.</summary>
    public static string NameOf(string path)
    {
        string name = Path.GetFileName(path);
        int end = name.IndexOf(".ko", StringComparison.Ordinal);
        return (end < 0 ? name : name[..end]).Replace('-', '_');
    }

    private void Copy(string name, string wanted, string target, List<string> files, HashSet<string> seen)
    {
        string file = $"{name}.ko";
        if (_builtIn.Contains(name) || !seen.Add(name))
        {
            return;
        }

        if (!_paths.TryGetValue(name, out string? path) || seen.Count > MostModules)
        {
            throw new UsageException($"--modules {_root}: {wanted} needs the module {name}, which is not there");
        }

        string copy = Path.Combine(target, file);
        if (!File.Exists(copy))
        {
            ModuleFile.Unpack(path, copy);
        }

        foreach (string needed in NeedsOf(copy))
        {
            Copy(needed, wanted, target, files, seen);
        }

        files.Add(file);
    }

    /// <summary>The entry <c>depends=a,b</c> of section .modinfo (scripts/mod/modpost.c): a string with a 0 before and behind.
    /// </summary>
    internal static IReadOnlyList<string> NeedsOf(string path)
    {
        if (new FileInfo(path).Length > MostModuleBytes)
        {
            throw new UsageException($"{path}: is too large to be a module");
        }

        ReadOnlySpan<byte> bytes = File.ReadAllBytes(path);
        ReadOnlySpan<byte> key = "\0depends="u8;
        int start = bytes.IndexOf(key);
        if (start < 0)
        {
            return [];
        }

        bytes = bytes[(start + key.Length)..];
        int end = bytes.IndexOf((byte)0);
        string text = Encoding.ASCII.GetString(bytes[..Math.Max(0, end)]);
        return [.. text.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(static name => name.Replace('-', '_')).Where(StoredKernel.IsPlainName)];
    }

    private static bool IsModule(string path) => Path.GetFileName(path) is var name
        && (name.EndsWith(".ko", StringComparison.Ordinal) || name.EndsWith(".ko.xz", StringComparison.Ordinal)
            || name.EndsWith(".ko.zst", StringComparison.Ordinal) || name.EndsWith(".ko.gz", StringComparison.Ordinal))
        && StoredKernel.IsPlainName(name);
}
