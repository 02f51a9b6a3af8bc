using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Programs that serve devices of a machine, and know of its guest what is not in vmm.</summary>
internal static class OtherPrograms
{
    /// <param name="what">What cannot be done with such a machine: "saved".</param>
    /// <exception cref="UsageException">One of them does not give what it knows.</exception>
    public static void Check(Machine machine, string what)
    {
        if (machine.Spec.ServedDisks.Count > 0 || machine.Spec.ServedNets.Count > 0)
        {
            throw new UsageException($"a machine with --vhost-user-blk or --vhost-user-net cannot be {what}: part of its state is in another program");
        }

        if (machine.Programs.Any(static device => !device.Backend.CanSave))
        {
            throw new UsageException($"its shared directories are served by a virtiofsd that does not tell what the guest has open, so it cannot be "
                + $"{what}; the one in Rust does from version 1.11 on (Debian 13). Without one: --root none or a disk image, and no --share");
        }
    }
}
