using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>What a guest wrote to ephemeral disks: in files without names, which end with the machine.</summary>
internal static class Overlays
{
    /// <summary>The numbers of the disks that have one.</summary>
    public static IReadOnlyList<int> Of(MachineSpec spec) =>
        [.. Enumerable.Range(0, spec.Disks.Count).Where(disk => spec.Disks[disk].Ephemeral)];

    /// <summary>Opens that of a disk once more. While the machine is quiesced.</summary>
    /// <returns>Null where the disk has none after all.</returns>
    public static FileDescriptor? Open(Machine machine, int disk) => (machine.Disks[disk].Disk.Backend.File as HostFile)?.Duplicate();
}
