using Vmm.Boot;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Snapshots;

/// <summary>The result of a rewind.</summary>
/// <param name="Pause">How long the guest was stopped.</param>
/// <param name="MemoryBytes">Bytes of its memory that were put back.</param>
internal sealed record RewindReport(TimeSpan Pause, ulong MemoryBytes);

/// <summary>Takes a machine back to its last snapshot in place: only pages that were written to since are put back.</summary>
internal static class Rewind
{
    public const string NoSnapshot = "the machine has no snapshot to go back to: 'vmm snapshot' makes one";

    /// <param name="machine">Running. Not from one of its vCPUs' threads or its loop's; not while it is saved.</param>
    /// <param name="since">Its last snapshot, or what it went on from.</param>
    /// <param name="isPaused">The user had paused it: it stays so.</param>
    /// <param name="wentBack">Called once its state is that of then, while it stands still.</param>
    /// <exception cref="UsageException">There is no snapshot, it is damaged, or a disk was written to: the machine goes on as it
    /// was.</exception>
    /// <exception cref="HostException">The host cannot; where that shows late, the machine ends.</exception>
    public static RewindReport Run(Machine machine, WrittenSince since, TimeSpan patience, bool isPaused, Action? wentBack = null)
    {
        using Snapshot? saved = since.Fork is null ? Open(since) : null;
        IRewindTarget to = saved ?? since.Fork!;
        using CarriedState overlays = since.HasOtherDisks ? new CarriedState() : to.CopyOverlays(machine.Spec);
        machine.Ram.Server?.Complete();
        using var still = new Standstill(machine, patience, isPaused);
        still.Begin();
        CheckDisks(since.Disks ?? saved?.Head.Machine.Disks ?? []);
        ulong pages = GoBack(machine, to, since, overlays, wentBack);
        still.End();
        return new RewindReport(still.Total, pages * PageSet.PageBytes);
    }

    private static Snapshot Open(WrittenSince since)
    {
        if (since.Id.Length == 0)
        {
            throw new UsageException(since.Directory.Length == 0
                ? NoSnapshot
                : $"{since.Directory}: was written by an older vmm, which did not give snapshots a number: make another with 'vmm snapshot'");
        }

        Snapshot to = Snapshot.Open(since.Directory);
        if (to.Head.Id == since.Id)
        {
            return to;
        }

        to.Dispose();
        throw new UsageException($"{to.Directory}: is not the snapshot any more that was made of this machine, or that it was restored from");
    }

    private static ulong GoBack(Machine machine, IRewindTarget to, WrittenSince since, CarriedState overlays, Action? wentBack)
    {
        try
        {
            ulong pages = (since.IsMapped ? machine.Ram.Revert() : null) ?? PutBack(machine.Ram, to, since);
            if (machine.Ram.IsTracked)
            {
                since.Collect(new PageSet(machine.Ram.Memory.Size));       // what was put back
            }

            since.BeginAgain(machine.Ram.IsTracked);
            machine.ReplaceOverlays(overlays);
            StateReader.Load(to.State, "machine", machine.State);
            to.Settle(machine);
            wentBack?.Invoke();
            return pages;
        }
        catch (Exception error) when (error is UsageException or StateException or HostException or ErrnoException or IOException)
        {
            // Neither what it was nor what it is to be.
            string? why = error is IOException ? FileErrors.Describe(error) : PrintableText.Of(error.Message);
            machine.End(MachineEnd.HostFailed($"{to.Name}: the machine cannot go back to it: {why}"));
            throw new HostException($"{to.Name}: the machine could not go back to it, and has ended: {why}");
        }
    }

    /// <summary>Memory that is not mapped from what it goes back to.</summary>
    private static ulong PutBack(GuestRam ram, IRewindTarget to, WrittenSince since)
    {
        bool isKnown = ram.IsTracked && since.Pages(since.Id) is not null;
        if (ram.TrackWrites() is null)
        {
            since.Collect(new PageSet(ram.Memory.Size));
        }

        return to.PutBack(ram, isKnown ? since.Pages(since.Id) : null);
    }

    /// <summary>The guest has cached what is on its disks.</summary>
    /// <param name="disks">As they were.</param>
    private static void CheckDisks(IReadOnlyList<DiskRecord> disks)
    {
        for (int i = 0; i < disks.Count; i++)
        {
            if (!disks[i].HasOverlay && disks[i].Files.FirstOrDefault(static file => !file.IsUnchanged) is { } changed)
            {
                throw new UsageException($"disk {i}, {PrintableText.Of(changed.Path)}: was written to since the snapshot, and cannot go back; with "
                    + "--disk PATH,ephemeral it could");
            }
        }
    }
}
