using Vmm.Host;
using Vmm.Text;

namespace Vmm.Kernels;

/// <summary>The values of <c>--kernel</c>: a file, or a name.</summary>
internal static class KernelNames
{
    public const string Host = "host", Reference = "reference";

    /// <summary>The command that error messages recommend to users without a kernel.</summary>
    public static string HowToGetOne => PackageManager.IsDnf ? "vmm kernel add fedora" : "vmm kernel add debian";

    /// <summary>Is it a file and not a name? An existing file wins over a name.</summary>
    public static bool IsFile(string text) => text.Length == 0 || text.Contains('/', StringComparison.Ordinal) || File.Exists(text);

    /// <summary>The file of a kernel. A file wins over a name. The kernel of a name is fetched if it is not stored yet.</summary>
    /// <exception cref="UsageException">There is neither.</exception>
    /// <exception cref="HostException">It cannot be fetched.</exception>
    public static string Resolve(string text, KernelStore store)
    {
        if (IsFile(text))
        {
            return Directory.Exists(text) ? throw new UsageException($"--kernel {text}: {DirectoryAdvice(text)}") : text;
        }

        return text switch
        {
            Host => AddHost(store, HostKernel.Find()).KernelPath,
            Reference => FindReference()
                ?? throw new UsageException("--kernel reference: has not been built here; 'make guest' in vmm's source tree does it"),
            _ when store.Find(text) is { } kernel => kernel.KernelPath,
            _ when FindVersion(text, store) is { } kernel => kernel.KernelPath,
            _ when DistributionKernels.Knows(text) => DistributionKernels.Fetch(text, store).KernelPath,
            _ when Directory.Exists(text) => throw new UsageException($"--kernel {text}: {DirectoryAdvice(text)}"),
            _ => throw new UsageException($"--kernel {text}: no such file, and no kernel of that name; {Suggest(text, store)}"),
        };
    }

    /// <summary>The default kernel of a run: this host's where it can be read, else the newest that is stored.</summary>
    /// <exception cref="UsageException">There is none.</exception>
    public static string Default(KernelStore store, HostKernel? host)
    {
        if (IsHostDefault(host))
        {
            return AddHost(store, host).KernelPath;
        }

        return store.Newest?.KernelPath
            ?? throw new UsageException($"no kernel given, and none is stored; this fetches one: {HowToGetOne}");
    }

    /// <summary>The release of the stored kernel that is the default: this host's comes first, once it is stored.</summary>
    /// <returns>Null where none of the stored kernels is.</returns>
    public static string? DefaultRelease(KernelStore store, HostKernel? host) =>
        IsHostDefault(host) ? HostKernel.Release : store.Newest?.Release;

    /// <summary>Is this host's own kernel the default?</summary>
    public static bool IsHostDefault(HostKernel? host) => host is { CannotBeRead: null };

    /// <summary>What to do instead, where a kernel's source tree was given.</summary>
    private static string DirectoryAdvice(string path)
    {
        string built = Path.Combine(path, "arch/x86/boot/bzImage");
        return File.Exists(built) ? $"is a directory; did you mean {built}?" : "is a directory; a kernel is a file, bzImage or vmlinux";
    }

    private static string Suggest(string text, KernelStore store)
    {
        string[] names = [Host, Reference, "debian", "debian-rt", "debian-amd64", "fedora", .. store.List().Select(static kernel => kernel.Release)];
        return Suggestion.Closest(text, names) is { } name ? $"did you mean {name}?" : $"names are {Host}, {Reference}, {DistributionKernels.Names}";
    }

    /// <summary>Stores this host's own kernel with its modules; again when it has changed since.</summary>
    internal static StoredKernel AddHost(KernelStore store, HostKernel? host)
    {
        if (host is null)
        {
            throw new UsageException($"--kernel host: there is no {HostKernel.Path} here; this fetches another: {HowToGetOne}");
        }

        if (host.CannotBeRead is { } why)
        {
            throw new UsageException($"--kernel host: {HostKernel.Path}: {why}; this fetches another: {HowToGetOne}");
        }

        return store.Find(HostKernel.Release) is { } known && known.Added > File.GetLastWriteTimeUtc(HostKernel.Path)
            ? known
            : store.Add(Host, HostKernel.Path, HostKernel.Release, host.Modules is null ? null : new ModuleTree(host.Modules), "this host");
    }

    /// <summary>Finds debian@6.1.0-56 if it is stored.</summary>
    private static StoredKernel? FindVersion(string text, KernelStore store) =>
        text.Contains('@', StringComparison.Ordinal) && DistributionKernels.TryParse(text, out _, out _, out string exact)
            ? store.List().LastOrDefault(kernel =>
                kernel.Source == exact || kernel.Source.StartsWith($"kernel-core-{exact}.", StringComparison.Ordinal))
            : null;

    /// <summary>The newest of those that firmware/kernel/build has in its cache (firmware/lib.sh).</summary>
    private static string? FindReference()
    {
        string cache = Environment.GetEnvironmentVariable("VMM_CACHE") is { Length: > 0 } chosen
            ? chosen
            : CacheDirectory.OfVmm;
        return Subdirectories.Of(cache, "kernel-*")
            .Select(static directory => Path.Combine(directory, "bzImage"))
            .Where(File.Exists)
            .MaxBy(File.GetLastWriteTimeUtc);
    }
}
