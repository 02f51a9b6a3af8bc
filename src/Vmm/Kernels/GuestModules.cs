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

    /// <summary>The features that a kernel has neither built in nor as a module, and the consequence of each.</summary>
    public static IEnumerable<(string Name, string Consequence)> MissingIn(StoredKernel kernel) => Wanted
        .Where(name => kernel.KnowsModules && !kernel.BuiltIn.Contains(name) && !kernel.Modules.ContainsKey(name) && Consequences.ContainsKey(name))
        .Select(static name => (name, Consequences[name]));

    /// <summary>The files to load for a run, in order.</summary>
    /// <param name="needs">Of <see cref="Wanted"/>; the required ones are checked.</param>
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
