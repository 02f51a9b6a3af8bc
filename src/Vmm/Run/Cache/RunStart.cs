using Vmm.Control;
using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Results;
using Vmm.Snapshots;

namespace Vmm.Run.Cache;

/// <summary>A run whose machine has ended.</summary>
/// <param name="Control">Who serves its control socket; null for nobody.</param>
internal sealed record EndedRun(GuestRun Run, Machine Machine, MachineEnd End, ControlServer? Control) : IDisposable
{
    public void Dispose()
    {
        Control?.Dispose();
        Machine.Dispose();
    }
}

/// <summary>Runs the machine of a <see cref="GuestRun"/>: one that has booted already, where there is one in the cache.</summary>
internal static class RunStart
{
    /// <param name="machine">With all that the run adds to what the user asked for.</param>
    /// <param name="observer">Who wants to be told of a boot; null for nobody.</param>
    /// <param name="version">Gives vmm's own, which is asked for only where the machine is saved: that takes time.</param>
    /// <param name="up">As <see cref="GuestRun"/> takes it.</param>
    /// <param name="serve">Serves the control socket of a machine that is about to run.</param>
    /// <inheritdoc cref="Machine.Build"/>
    public static EndedRun Go(RunOptions options, RunRecorder recorder, MachineSpec machine, RunObserver? observer, Func<string> version, Action<Machine>? up = null,
        Func<GuestRun, Machine, ControlServer?>? serve = null)
    {
        var run = new GuestRun(options, recorder, up);
        if (options.Fork is { } fork)
        {
            run.GoesOnAsFork(fork.Number);
            using CarriedState overlays = fork.CopyOverlays(machine);
            Machine restored = Machine.Restore(machine.ForRestore(), fork, observer, overlays, run);
            fork.Settle(restored);
            return Run(run, restored, serve);
        }

        BootKey? MakeKey() => BootKey.TryMake(options, machine, run.InitramfsSources, run.KernelWords);
        BootKey? key = options.IsCold || observer is not null ? null : MakeKey();
        if (key is null)
        {
            return Run(run, Machine.Build(machine, observer, guest: run), serve);
        }

        // Are the files of the key, which the machine has opened meanwhile, the same?
        bool IsStill() => MakeKey() == key;
        int place;
        string? why;
        using (FoundBoot? boot = BootCache.Default.Find(key, options.CacheEntries, out place, out why))
        {
            if (boot is not null)
            {
                if (TryGoOn(run, machine, boot.Snapshot, IsStill, serve) is { } restored)
                {
                    return restored;
                }

                BootCache.Discard(boot);
                run = new GuestRun(options, recorder, up);      // the machine owned the other
            }
        }

        if (why is not null && Stderr.IsTerminal)
        {
            Stderr.WriteLine($"vmm: this run boots: {why} (--cache-entries)");
        }

        run.WhenBooted(booted =>
        {
            if (IsStill())
            {
                BootCache.Default.Add(key, place, booted, version());
            }
        });
        return Run(run, Machine.Build(machine, guest: run), serve);
    }

    /// <summary>Runs a machine to its end.</summary>
    public static EndedRun Run(GuestRun run, Machine machine, Func<GuestRun, Machine, ControlServer?>? serve)
    {
        ControlServer? control = null;
        try
        {
            control = serve?.Invoke(run, machine);
            MachineEnd end = machine.Run();
            run.WaitForSaving();
            return new EndedRun(run, machine, end, control);
        }
        catch
        {
            run.WaitForSaving();
            control?.Dispose();
            machine.Dispose();
            throw;
        }
    }

    /// <param name="isRight">Asked once the machine has opened its disks.</param>
    /// <returns>Null where it does not go on here: then it is to boot.</returns>
    private static EndedRun? TryGoOn(
        GuestRun run, MachineSpec spec, Snapshot snapshot, Func<bool> isRight, Func<GuestRun, Machine, ControlServer?>? serve)
    {
        Machine machine;
        run.SetRestored();
        try
        {
            using CarriedState overlays = snapshot.CopyOverlays(spec);
            machine = Machine.Restore(spec, snapshot, carried: overlays, guest: run);
        }
        catch (Exception error) when (error is StateException || (error is UsageException or HostException && spec.Disks.Count > 0))
        {
            return null;        // if a disk cannot be opened, booting tells it
        }

        if (spec.Disks.Count > 0 && !isRight())
        {
            machine.Dispose();
            return null;
        }

        EndedRun ended = Run(run, machine, serve);
        if (!run.IsUnheard)
        {
            return ended;
        }

        ended.Dispose();
        return null;
    }
}
