using Vmm.Backends.Disks;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>What a guest wrote to ephemeral disks: in files without names, which end with the machine.</summary>
internal static class Overlays
{
    /// <summary>The numbers of the disks that have one.</summary>
    public static IReadOnlyList<int> Of(MachineSpec spec) =>
        [.. Enumerable.Range(0, spec.Disks.Count).Where(disk => spec.Disks[disk].Ephemeral)];

    /// <summary>Opens that of a disk once more, when all that the guest has written is in it: its tables are written late. While the
    /// machine is quiesced.</summary>
    /// <returns>Null where the disk has none after all.</returns>
    /// <exception cref="HostException">The host has no room for the tables.</exception>
    public static FileDescriptor? Open(Machine machine, int disk)
    {
        DiskNode backend = machine.Disks[disk].Disk.Backend;
        return backend.Flush()
            ? (backend.File as HostFile)?.Duplicate()
            : throw new HostException($"{backend.File.Path}: its tables cannot be written");
    }
}
