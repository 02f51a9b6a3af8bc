using Vmm.Boot.Inspect;
using Vmm.Host;

namespace Vmm.Kernels;

/// <summary>The features that guests of <c>vmm run</c> use and that some kernels have as modules.</summary>
internal static class GuestModules
{
    /// <summary>By their names in modules.dep, with '_' for '-'; those that depend on others behind them.</summary>
    public static IReadOnlyList<string> Wanted { get; } =
    [
        "virtio_pci", "virtio_mmio", "vmw_vsock_virtio_transport", "virtio_blk", "virtio_net", "virtio_rng", "virtiofs", "overlay",
        "crc32c_generic", "ext4", "xfs", "btrfs", "squashfs", "erofs", "virtio_balloon", "virtio_console",
    ];

    /// <summary>What ext4, xfs and btrfs request from the kernel when they mount (modules.softdep); without modprobe in the
    /// guest it has to be loaded before.</summary>
    public const string Checksum = "crc32c_generic";

    private static readonly Dictionary<string, string> Consequences = new(StringComparer.Ordinal)
    {
        ["virtio_pci"] = "no device will appear",
        ["virtio_mmio"] = "no device will appear",
        ["virtio_blk"] = "disks will not appear",
        ["virtio_net"] = "the network will not appear",
        ["virtiofs"] = "directories cannot be shared; --pack makes an image of the root directory instead",
        ["overlay"] = "a directory or archive cannot be the root file system; --pack makes a disk image of a directory instead",
        ["ext4"] = "an ext4 image cannot be mounted",
        ["squashfs"] = "an archive cannot be the root file system",
        ["xfs"] = "an XFS image cannot be mounted",
        ["btrfs"] = "a Btrfs image cannot be mounted",
        ["erofs"] = "an EROFS image cannot be mounted",
    };

    /// <summary>Their names in a kernel's configuration.</summary>
    private static readonly Dictionary<string, string> Options = new(StringComparer.Ordinal)
    {
        ["virtio_pci"] = "CONFIG_VIRTIO_PCI",
        ["virtio_mmio"] = "CONFIG_VIRTIO_MMIO",
        ["virtio_blk"] = "CONFIG_VIRTIO_BLK",
        ["virtio_net"] = "CONFIG_VIRTIO_NET",
        ["virtiofs"] = "CONFIG_VIRTIO_FS",
        ["overlay"] = "CONFIG_OVERLAY_FS",
        ["ext4"] = "CONFIG_EXT4_FS",
        ["squashfs"] = "CONFIG_SQUASHFS",
        ["xfs"] = "CONFIG_XFS_FS",
        ["btrfs"] = "CONFIG_BTRFS_FS",
        ["erofs"] = "CONFIG_EROFS_FS",
    };

    /// <summary>Checks before the boot that a kernel has what a run needs, where the file is in its build tree or has its
    /// configuration beside it. A configuration that is newer than the kernel is ignored.</summary>
    /// <param name="file">The kernel.</param>
    /// <param name="needs">Names of <see cref="Wanted"/>.</param>
    /// <param name="mayLoad">Is there an initramfs of the user's, which may load modules?</param>
    /// <exception cref="UsageException">It lacks something.</exception>
    public static void CheckBuiltIn(string file, IEnumerable<string> needs, bool mayLoad)
    {
        if (KernelConfig.PathBeside(file) is not { } beside || !File.Exists(beside)
            || File.GetLastWriteTimeUtc(beside) > File.GetLastWriteTimeUtc(file) || KernelConfig.Read(beside) is not { } config)
        {
            return;
        }

        foreach (string need in needs)
        {
            if (!Options.TryGetValue(need, out string? option) || config.IsBuiltIn(option))
            {
                continue;
            }

            if (!config.IsModule(option))
            {
                throw new UsageException($"--kernel {file}: has no {need} ({option} in {beside}): {Consequences[need]}");
            }

            if (!mayLoad)
            {
                throw new UsageException($"--kernel {file}: {need} is a module ({option}=m in {beside}); "
                    + $"'vmm kernel add {file} --modules DIRECTORY --name NAME' keeps the kernel with its modules: --kernel NAME");
            }
        }
    }

    /// <summary>The features that a kernel has neither built in nor as a module, and the consequence of each.</summary>
    public static IEnumerable<(string Name, string Consequence)> MissingIn(StoredKernel kernel) => Wanted
        .Where(name => kernel.KnowsModules && !kernel.BuiltIn.Contains(name) && !kernel.Modules.ContainsKey(name) && Consequences.ContainsKey(name))
        .Select(static name => (name, Consequences[name]));

    /// <summary>The files to load for a run, in order.</summary>
    /// <param name="needs">Names of <see cref="Wanted"/>; the required ones are checked.</param>
    /// <exception cref="UsageException">The kernel has one of them neither built in nor as a module.</exception>
    public static IReadOnlyList<string> FilesFor(StoredKernel kernel, IEnumerable<string> needs)
    {
        var files = new List<string>();
        foreach (string need in needs)
        {
            if (kernel.Modules.TryGetValue(need, out IReadOnlyList<string>? own))
            {
                files.AddRange(own.Where(file => !files.Contains(file)));
            }
            else if (kernel.KnowsModules && !kernel.BuiltIn.Contains(need) && Consequences.TryGetValue(need, out string? consequence))
            {
                throw new UsageException($"--kernel {kernel.Release}: has no {need}, neither built in nor as a module: {consequence}");
            }
        }

        return files;
    }
}
