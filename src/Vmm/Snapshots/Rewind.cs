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
    /// <param name="machine">Running. Not from one of its vCPUs' threads or its loop's; not while it is saved.</param>
    /// <param name="since">Its last snapshot.</param>
    /// <param name="isPaused">The user had paused it: it stays so.</param>
    /// <exception cref="UsageException">There is no snapshot, it is damaged, or a disk was written to: the machine goes on as it
    /// was.</exception>
    /// <exception cref="HostException">The host cannot; where that shows late, the machine ends.</exception>
    public static RewindReport Run(Machine machine, WrittenSince since, TimeSpan patience, bool isPaused)
    {
        if (since.Id.Length == 0)
        {
            throw new UsageException("the machine has no snapshot to go back to: 'vmm snapshot' makes one");
        }

        using Snapshot to = Snapshot.Open(since.Directory);
        if (to.Head.Id != since.Id)
        {
            throw new UsageException($"{to.Directory}: is not the snapshot any more that was made of this machine");
        }

        using var overlays = new NextLife();
        to.TakeOverlays(overlays);
        using var still = new Standstill(machine, patience, isPaused);
        still.Begin();
        CheckDisks(machine, to);
        ulong pages = GoBack(machine, to, since, overlays);
        still.End();
        return new RewindReport(still.Total, pages * PageSet.PageBytes);
    }

    private static ulong GoBack(Machine machine, Snapshot to, WrittenSince since, NextLife overlays)
    {
        try
        {
            bool isKnown = machine.Ram.IsTracked && since.Pages(to.Head.Id) is not null;
            if (machine.Ram.TrackWrites() is null)
            {
                since.Collect(new PageSet(machine.Ram.Memory.Size));
            }

            ulong pages = MemoryFile.PutBack(to, machine.Ram, isKnown ? since.Pages(to.Head.Id) : null);
            if (machine.Ram.IsTracked)
            {
                since.Collect(new PageSet(machine.Ram.Memory.Size));       // what was put back
            }

            since.Begin(to.Head.Id, to.Directory, machine.Ram.IsTracked);
            machine.ReplaceOverlays(overlays);
            StateReader.Load(to.State, "machine", machine.State);
            return pages;
        }
        catch (Exception error) when (error is UsageException or StateException or HostException or ErrnoException or IOException)
        {
            // Neither what it was nor what it is to be.
            string? why = error is IOException ? FileErrors.Describe(error) : PrintableText.Of(error.Message);
            machine.End(MachineEnd.HostFailed($"{to.Directory}: the machine cannot go back to it: {why}"));
            throw new HostException($"{to.Directory}: the machine could not go back to it, and has ended: {why}");
        }
    }

    /// <summary>The guest has cached what is on its disks.</summary>
    private static void CheckDisks(Machine machine, Snapshot to)
    {
        for (int i = 0; i < machine.Disks.Count; i++)
        {
            DiskRecord saved = to.Head.Machine.Disks[i];
            if (!saved.HasOverlay && saved.Files.FirstOrDefault(static file => !file.IsUnchanged) is { } changed)
            {
                throw new UsageException($"disk {i}, {PrintableText.Of(changed.Path)}: was written to since the snapshot, and cannot go back; with "
                    + "--disk PATH,ephemeral it could");
            }
        }
    }
}
