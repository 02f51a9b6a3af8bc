using Vmm.Kernels;
using Vmm.Machines;
using Vmm.Run.Roots;

namespace Vmm.Run;

/// <summary>The kernel features that a run needs, by the names of <see cref="GuestModules.Wanted"/>.</summary>
internal static class RunModules
{
    public static IReadOnlyList<string> NeededBy(RunOptions options)
    {
        MachineSpec machine = options.Machine;
        List<string> needs = [machine.Transport == Transport.Mmio ? "virtio_mmio" : "virtio_pci", "vmw_vsock_virtio_transport"];
        Add(machine.Disks.Count > 0 || machine.ServedDisks.Count > 0 || options.Root.IsOnDisk, "virtio_blk");
        Add(machine.Nets.Count > 0 || machine.ServedNets.Count > 0, "virtio_net");
        Add(machine.Rng, "virtio_rng");
        Add(machine.Ports.Count > 0, "virtio_console");
        Add(machine.Balloon, "virtio_balloon");
        Add(machine.Shares.Count > 0, "virtiofs");
        Add(options.Root.Kind is RootKind.Share or RootKind.Archive, "overlay");
        string files = options.Root.Kind switch
        {
            RootKind.Archive => "squashfs",
            RootKind.PackedDirectory => "ext4",
            RootKind.Disk => DiskFileSystem.Find(options.Root.Path) ?? "ext4",
            _ => "",
        };
        Add(files is "ext4" or "xfs" or "btrfs", GuestModules.Checksum);
        Add(files.Length > 0, files);
        return needs;

        void Add(bool isNeeded, string name)
        {
            if (isNeeded)
            {
                needs.Add(name);
            }
        }
    }
}
