using Vmm.Control;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Cache;
using Vmm.Run.Results;
using Vmm.Snapshots;
using Vmm.Text;

namespace Vmm.Run;

/// <summary>A machine of <c>vmm run</c> that goes on from a snapshot.</summary>
internal static class SavedRun
{
    /// <summary>The options of the run.</summary>
    /// <param name="spec">The machine to make.</param>
    /// <exception cref="UsageException">The snapshot is damaged.</exception>
    public static RunOptions Options(Snapshot snapshot, MachineSpec spec)
    {
        try
        {
            return RunRecord.ToOptions(snapshot.Head.Machine.Agent, spec);
        }
        catch (StateException error)
        {
            throw new UsageException($"{Path.Combine(snapshot.Directory, SnapshotFiles.Head)}: machine.{PrintableText.Of(error.Message)}");
        }
    }

    /// <summary>Runs it to its end.</summary>
    /// <param name="with">A name in it makes it another machine than the one that was saved.</param>
    /// <param name="options">As <see cref="Options"/> makes them.</param>
    /// <param name="setsClock">Give it the host's time of day.</param>
    /// <param name="up">Called once its agent has answered.</param>
    /// <param name="serve">Serves the control socket of a machine that is about to run.</param>
    /// <inheritdoc cref="Snapshot.Restore"/>
    public static EndedRun Go(
        Snapshot snapshot, Replacements with, RunOptions options, RunRecorder recorder, bool setsClock, Action<Machine>? up,
        Func<GuestRun, Machine, ControlServer?>? serve)
    {
        var run = new GuestRun(options, recorder, up);
        run.GoesOnAs(isSame: with.Name is null, setsClock);
        return RunStart.Run(run, snapshot.Restore(with, _ => options.Machine, guest: run), serve);
    }
}
