using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>What a machine can go back to in place: a snapshot, or what it was forked from.</summary>
internal interface IRewindTarget : ISavedMachine
{
    /// <summary>For messages.</summary>
    string Name { get; }

    /// <summary>Copies of what ephemeral disks had.</summary>
    /// <exception cref="HostException">The host cannot copy them.</exception>
    CarriedState CopyOverlays(MachineSpec spec);

    /// <summary>Answers what the guest had asked vmm for, and waits for, in what was saved.</summary>
    /// <param name="machine">Has taken the state over, and does not run yet.</param>
    void Settle(Machine machine)
    {
    }

    /// <summary>Puts memory back as it was, by comparing it.</summary>
    /// <param name="written">Pages that may differ; null where all may.</param>
    /// <returns>Pages that were put back.</returns>
    /// <exception cref="UsageException">It is damaged; part of the memory may have been put back.</exception>
    /// <exception cref="IOException">The host cannot read it; likewise.</exception>
    ulong PutBack(GuestRam ram, PageSet? written);
}
