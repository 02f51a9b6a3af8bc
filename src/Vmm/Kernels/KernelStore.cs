using System.Runtime.InteropServices;
using Vmm.Boot.Inspect;
using Vmm.Host;

namespace Vmm.Kernels;

/// <summary>Where vmm keeps kernels: <c>$XDG_CACHE_HOME/vmm/kernels/RELEASE/</c>, ~/.cache where that is not set. Its content
/// can be deleted at any time and fetched again.</summary>
/// <param name="root">The directory; it need not exist.</param>
internal sealed class KernelStore(string root)
{
    public static KernelStore Default { get; } = new(Path.Combine(CacheDirectory.OfVmm, "kernels"));

    public string Root { get; } = root;

    /// <summary>All complete entries, the newest last.</summary>
    /// <exception cref="HostException">The directory cannot be read.</exception>
    public IReadOnlyList<StoredKernel> List() =>
    [
        .. Subdirectories.Of(Root)
            .Where(static path => !Path.GetFileName(path).StartsWith('.'))
            .Select(StoredKernel.TryRead)
            .OfType<StoredKernel>()
            .Where(static kernel => File.Exists(kernel.KernelPath))
            .OrderBy(static kernel => kernel.Added),
    ];

    public StoredKernel? Newest => List() is [.., var newest] ? newest : null;

    /// <summary>By release, else the newest that was added under this name.</summary>
    public StoredKernel? Find(string name)
    {
        IReadOnlyList<StoredKernel> all = List();
        return all.FirstOrDefault(kernel => kernel.Release == name) ?? all.LastOrDefault(kernel => kernel.Name == name);
    }

    /// <summary>The entry that a path of a kernel belongs to; null for a file from elsewhere.</summary>
    public StoredKernel? Owner(string path)
    {
        string directory = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "";
        return Path.GetDirectoryName(directory) == Root ? StoredKernel.TryRead(directory) : null;
    }

    /// <summary>Stores a kernel: a copy, and the modules that guests may need, unpacked. The entry is complete or not there at
    /// all, and replaces one of the same release.</summary>
    /// <param name="name">The name to find it by.</param>
    /// <param name="file">The kernel.</param>
    /// <param name="release">The kernel's release: <see cref="ReleaseOf"/>.</param>
    /// <param name="modules">Its modules; null for none.</param>
    /// <param name="source">Where it is from, as lists show it.</param>
    public StoredKernel Add(string name, string file, string release, ModuleTree? modules, string source)
    {
        Directory.CreateDirectory(Root);
        using FileDescriptor turn = Lock();
        Sweep();
        string work = Path.Combine(Root, $".{release}.{Environment.ProcessId}");
        try
        {
            var kernel = new StoredKernel
            {
                Format = StoredKernel.CurrentFormat,
                Release = release,
                Name = name,
                Source = source,
                Added = DateTimeOffset.UtcNow,
                KnowsModules = modules?.KnowsBuiltIn ?? false,
                BuiltIn = modules is null ? [] : [.. GuestModules.Wanted.Where(modules.IsBuiltIn)],
                Modules = modules is null
                    ? new Dictionary<string, IReadOnlyList<string>>()
                    : CopyModules(modules, Directory.CreateDirectory(Path.Combine(work, "modules")).FullName),
            };
            Directory.CreateDirectory(work);
            File.Copy(file, Path.Combine(work, $"vmlinuz-{release}"));
            string config = Path.Combine(Path.GetDirectoryName(file) ?? "", $"config-{release}");
            if (File.Exists(config))
            {
                File.Copy(config, Path.Combine(work, $"config-{release}"));
            }

            kernel.Write(work);
            string final = Path.Combine(Root, release);
            if (Directory.Exists(final))
            {
                Directory.Delete(final, recursive: true);
            }

            Directory.Move(work, final);
            return kernel with { Directory = final };
        }
        finally
        {
            if (Directory.Exists(work))
            {
                Directory.Delete(work, recursive: true);
            }
        }
    }

    /// <exception cref="UsageException">It is no Linux kernel.</exception>
    public static string ReleaseOf(string file)
    {
        string release = KernelInspector.Inspect(file).Version?.Split(' ')[0] ?? "";
        return StoredKernel.IsPlainName(release)
            ? release
            : throw new UsageException($"{file}: is no Linux kernel that tells its version; give it by its path instead: --kernel {file}");
    }

    /// <returns>False if there is no such kernel.</returns>
    public bool Remove(string name)
    {
        if (Find(name) is not { } kernel)
        {
            return false;
        }

        using FileDescriptor turn = Lock();
        Directory.Delete(kernel.Directory, recursive: true);
        return true;
    }

    /// <summary>Deletes what killed processes left: directories that end in the number of a process that does not exist any
    /// more.</summary>
    private void Sweep()
    {
        foreach (string path in Subdirectories.Of(Root, ".*"))
        {
            string owner = Path.GetExtension(path).TrimStart('.');
            if (owner.All(char.IsAsciiDigit) && owner.Length > 0 && !Directory.Exists($"/proc/{owner}"))
            {
                Directory.Delete(path, recursive: true);
            }
        }
    }

    private static Dictionary<string, IReadOnlyList<string>> CopyModules(ModuleTree tree, string target)
    {
        var all = new Dictionary<string, IReadOnlyList<string>>(StringComparer.Ordinal);
        foreach (string wanted in GuestModules.Wanted)
        {
            if (tree.Copy(wanted, target) is { Count: > 0 } files)
            {
                all[wanted] = files;
            }
        }

        return all;
    }

    /// <summary>One process at a time fetches: others that ask for the same kernel wait and use the result.</summary>
    /// <param name="waiting">Called once if another process has the lock.</param>
    /// <returns>The lock, until it is disposed of.</returns>
    public FileDescriptor LockForFetching(Action waiting)
    {
        Directory.CreateDirectory(Root);
        return Lock(".fetching", waiting);
    }

    /// <summary>Locks the store: one process at a time changes it.</summary>
    private FileDescriptor Lock() => Lock(".lock", static () => { });

    /// <summary>The lock's file is not deleted: waiting processes have it open.</summary>
    private FileDescriptor Lock(string name, Action waiting)
    {
        string path = Path.Combine(Root, name);
        var file = new FileDescriptor(ErrnoException.Check(LibC.open(path, LibC.O_RDWR | LibC.O_CREAT | LibC.O_CLOEXEC, 0x180), path));
        for (bool isFirst = true; !FileLock.TryTake(file, shared: false); isFirst = false)
        {
            if (isFirst)
            {
                waiting();
            }

            Thread.Sleep(100);
        }

        return file;
    }
}
