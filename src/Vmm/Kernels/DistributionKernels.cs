using System.Diagnostics;
using System.Globalization;
using Vmm.Host;

namespace Vmm.Kernels;

/// <summary>Kernels of distributions, fetched as packages by the host's own package manager and not installed.</summary>
internal static class DistributionKernels
{
    /// <summary>The names, for messages.</summary>
    public const string Names = "debian, debian-rt, debian-amd64, fedora, each with @VERSION if a certain one is wanted";

    /// <summary>$1 the directory for it, $2 the package that stands for the newest one, $3 a certain package, or nothing.</summary>
    private const string DebianScript = """
        set -e
        cd -- "$1"
        command -v apt-get >/dev/null || { echo 'it is fetched by apt, which this host does not have' >&2; exit 4; }
        newest() { apt-cache depends "$1" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1; }
        update() { [ "$(id -u)" = 0 ] && apt-get update -qq >/dev/null 2>&1; }
        package=$3
        if [ -z "$package" ]; then
            package=$(newest "$2")
            if [ -z "$package" ] && update; then package=$(newest "$2"); fi
            [ -n "$package" ] || { echo "apt knows no $2; run apt-get update as root" >&2; exit 4; }
        fi
        get() { apt-get download -qq -o APT::Sandbox::User=root "$package" >/dev/null 2>error; }
        get || { update && get; } || { sed -n 's/^E: *//p' error | head -n 1 >&2; exit 4; }
        dpkg-deb -x *.deb root
        rm -f -- *.deb
        printf '%s\n' "$package" >package
        """;

    /// <summary>The script for dnf. Before Fedora 38 and RHEL 9.2 there was no kernel-modules-core: its modules were in kernel-core.</summary>
    private const string FedoraScript = """
        set -e
        cd -- "$1"
        command -v dnf >/dev/null || { echo 'it is fetched by dnf, which this host does not have' >&2; exit 4; }
        for each in rpm2cpio cpio; do
            command -v "$each" >/dev/null || { echo "$each is not installed; dnf install $each" >&2; exit 4; }
        done
        get() { dnf -q download --destdir . "$1${2:+-$2}" >/dev/null 2>error; }
        get kernel-core "$3" || {
            if grep -q '^No such command' error; then echo 'dnf has no download; dnf install dnf-plugins-core' >&2; exit 4; fi
            { grep '^Error' error || cat error; } | sed 's/^Error: *//' | head -n 1 >&2
            exit 4
        }
        version=$(ls kernel-core-*.rpm | sed 's/^kernel-core-//; s/\.rpm$//')
        get kernel-modules-core "$version" || grep -qi 'no package\|no match' error || { tail -n 1 error >&2; exit 4; }
        mkdir root
        for each in *.rpm; do rpm2cpio "$each" | (cd root && cpio -idm --quiet); done
        printf 'kernel-core-%s\n' "$version" >package
        rm -f -- *.rpm
        mkdir -p root/boot
        for each in root/lib/modules/*/vmlinuz root/usr/lib/modules/*/vmlinuz; do
            [ -e "$each" ] || continue
            modules=$(dirname "$each") release=$(basename "$(dirname "$each")")
            mv "$each" "root/boot/vmlinuz-$release"
            cp "$modules/config" "root/boot/config-$release"
        done
        """;

    /// <summary>Is it such a name?</summary>
    public static bool Knows(string name) => TryParse(name, out _, out _, out _);

    /// <summary>Fetches one into the store, and says so on standard error.</summary>
    /// <param name="name">As <see cref="Knows"/> takes it.</param>
    /// <exception cref="UsageException">There is no such version.</exception>
    /// <exception cref="HostException">It cannot be fetched on this host.</exception>
    public static StoredKernel Fetch(string name, KernelStore store)
    {
        if (!TryParse(name, out string script, out string newest, out string exact))
        {
            throw new ArgumentException($"no kernel of a distribution: {name}");
        }

        DateTimeOffset asked = DateTimeOffset.UtcNow;
        using FileDescriptor turn = store.LockForFetching(
            () => Stderr.WriteLine($"vmm: another vmm is fetching a kernel; waiting for it before {name}"));
        if (store.Find(name) is { } found && found.Added >= asked)
        {
            return found;       // the same version, already stored
        }

        Stderr.WriteLine($"vmm: fetching the kernel {name} (a package, not installed)");
        var clock = Stopwatch.StartNew();
        string work = Path.Combine(store.Root, $".fetch.{Environment.ProcessId}");
        Directory.CreateDirectory(work);
        try
        {
            using FileDescriptor nothing = FileDescriptor.Open("/dev/null", LibC.O_RDWR);
            ChildProcess.Ended ended = ChildProcess.Run(
                "setpriv", ["--pdeathsig", "KILL", "--", "sh", "-c", script, "vmm-fetch", work, newest, exact], nothing.Number);
            if (ended.Code != 0)
            {
                throw new HostException(ended.Said.Contains("No space left", StringComparison.Ordinal)
                    ? $"--kernel {name}: no room in {store.Root}"
                    : $"--kernel {name}: {(ended.FirstLine.Length > 0 ? ended.FirstLine : $"it cannot be fetched (code {ended.Code})")}");
            }

            string file = Directory.EnumerateFiles(Path.Combine(work, "root", "boot"), "vmlinuz-*").Order(StringComparer.Ordinal).Last();
            string release = Path.GetFileName(file)["vmlinuz-".Length..];
            string modules = FindModules(Path.Combine(work, "root"), release);
            string package = File.ReadAllText(Path.Combine(work, "package")).Trim();
            StoredKernel kernel = store.Add(name, file, release, new ModuleTree(modules), package);
            Stderr.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"vmm: {package} is in {store.Root} ({clock.Elapsed.TotalSeconds:0} s)"));
            return kernel;
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    /// <summary>The package that a version of a name is.</summary>
    internal static bool TryParse(string name, out string script, out string newest, out string exact)
    {
        string[] parts = name.Split('@', 2);
        string version = parts.Length == 2 ? parts[1] : "";
        (script, string flavour) = parts[0] switch
        {
            "debian" => (DebianScript, "cloud-amd64"),
            "debian-rt" => (DebianScript, "rt-amd64"),
            "debian-amd64" => (DebianScript, "amd64"),
            "fedora" => (FedoraScript, ""),
            _ => ("", ""),
        };
        newest = $"linux-image-{flavour}";
        exact = version.Length == 0 ? "" : flavour.Length == 0 ? version : $"linux-image-{version}-{flavour}";
        return script.Length > 0 && (parts.Length == 1 || StoredKernel.IsPlainName(version));
    }

    /// <summary>/lib is /usr/lib on some.</summary>
    private static string FindModules(string root, string release) =>
        ((string[])["lib/modules", "usr/lib/modules"]).Select(each => Path.Combine(root, each, release)).FirstOrDefault(Directory.Exists)
        ?? throw new HostException($"the package of the kernel {release} has no modules");
}
