using Vmm.Boot;
using Vmm.Host;
using Vmm.Named.Limits;

namespace Vmm.Named;

/// <summary>Commands for one named machine, from outside its process.</summary>
/// <param name="control">Asks a machine something over its control socket, at a path: <c>resume</c>. Throws where that
/// fails.</param>
internal sealed class MachineActions(MachineStore store, Action<MachineFolder, string, string> control)
{
    /// <summary>What a machine that was killed ended with, as a shell says it.</summary>
    public static int KilledCode => 128 + LibC.SIGKILL;

    private static readonly TimeSpan KillPatience = TimeSpan.FromSeconds(5);

    /// <summary>Shuts the guest down: the power button is pressed, or the command gets SIGTERM. If it takes too long it is killed.
    /// </summary>
    /// <param name="timeout">For how long; null for what the machine was started with, zero for as long as it likes.</param>
    /// <exception cref="HostException">It cannot be stopped.</exception>
    public void Stop(MachineFolder folder, TimeSpan? timeout)
    {
        using MachineProcess? process = MachineProcess.TryFind(folder);
        if (process is null)
        {
            return;
        }

        MachineRecord record = MachineStore.ReadOrExplain(folder);
        MarkToStop(folder, record);
        ResumeIfPaused(folder);
        process.Signal(LibC.SIGTERM);
        TimeSpan patience = timeout ?? TimeSpan.FromSeconds(record.StopTimeout);
        if (!process.WaitForEnd(patience == TimeSpan.Zero ? Timeout.InfiniteTimeSpan : patience))
        {
            Kill(folder, process);
        }

        CompleteRecord(folder, "stopped", KilledCode);
    }

    /// <summary>Kills it at once, as a loss of power would.</summary>
    /// <exception cref="HostException">It does not run.</exception>
    public void Kill(MachineFolder folder)
    {
        using MachineProcess process = MachineProcess.TryFind(folder) ?? throw NotRunning(folder);
        MarkToStop(folder, MachineStore.ReadOrExplain(folder));
        Kill(folder, process);
        CompleteRecord(folder, "killed", KilledCode);
    }

    /// <summary>Halts its processors, or has them go on.</summary>
    /// <param name="command"><c>pause</c> or <c>resume</c>.</param>
    /// <exception cref="HostException">It does not run, or is so already.</exception>
    public void Halt(MachineFolder folder, string command)
    {
        MachineRecord record = MachineStore.ReadOrExplain(folder);
        if (!folder.IsRunning)
        {
            throw NotRunning(folder);
        }

        control(folder, folder.ControlPath(record), command);
    }

    /// <summary>Starts one that has ended, with the command line that it had.</summary>
    /// <exception cref="HostException">It runs, or cannot be started.</exception>
    public MachineStarted Start(MachineFolder folder)
    {
        FileDescriptor life;
        MachineRecord before, record;
        using (folder.LockForChange())
        {
            before = MachineStore.ReadOrExplain(folder);
            CheckIsOwn(folder, before, "give its command again");
            record = before.Anew() with { Pid = 0, Restarts = 0, Runtime = store.Runtime };
            if (folder.IsRunning)
            {
                throw new HostException($"{folder.Name}: it runs already");
            }

            // Before the lock is taken: who sees it taken uses the process number that it finds.
            record.Write(folder.Path);
            life = folder.TryTakeLife() ?? throw new HostException($"{folder.Name}: it runs already");
        }

        MachineStarted started;
        try
        {
            started = MachineStart.Start(folder, record, life);
        }
        catch
        {
            before.Write(folder.Path);      // there was no process: it is as it was
            throw;
        }

        if (started.Code is { } code)
        {
            CompleteRecord(folder, started.Why, code);
        }

        return started;
    }

    /// <exception cref="HostException">It runs in the foreground.</exception>
    public static void CheckStays(MachineFolder folder) =>
        CheckIsOwn(folder, MachineStore.ReadOrExplain(folder), "stop it, and give its command again");

    /// <exception cref="HostException">It has no log: it runs in the foreground.</exception>
    public static void CheckHasLog(MachineFolder folder)
    {
        try
        {
            CheckIsOwn(folder, folder.Read(), "what it says goes there, and 'vmm attach' shows what comes next");
        }
        catch (RecordException)
        {
            // A log can be read without a record.
        }
    }

    /// <summary>Gives it other limits, now where it runs, and from its next start on.</summary>
    /// <param name="change">What they are to be.</param>
    /// <exception cref="HostException">The host does not let it.</exception>
    public static void Limit(MachineFolder folder, Func<MachineLimits, MachineLimits> change)
    {
        using FileDescriptor guard = folder.LockForChange();
        MachineRecord record = MachineStore.ReadOrExplain(folder);
        CheckIsOwn(folder, record, "limits go with --detach");
        MachineLimits limits = change(record.Limits);
        if (folder.IsRunning)
        {
            SetLimits(folder, record, limits);
        }

        (MachineStore.ReadOrExplain(folder) with { Limits = limits })
            .Write(folder.Path);
    }

    /// <summary>Waits until it does not run any more.</summary>
    /// <param name="stop">Readable when the wait is to end.</param>
    /// <returns>What its vmm ended with; null when the wait was ended.</returns>
    public static int? Wait(MachineFolder folder, int stop)
    {
        // It stays readable when the machine is removed, as one in the foreground is at its end.
        using FileDescriptor? held = folder.OpenForEnd();
        while ((held is null || folder.IsLockAt(held.Number)) && TryFind(folder) is { } process)
        {
            using (process)
            {
                if (!process.WaitForEnd(Timeout.InfiniteTimeSpan, stop))
                {
                    return null;
                }
            }
        }

        return held is not null && !folder.IsLockAt(held.Number)
            ? MachineFolder.ReadEnd(held) ?? KilledCode
            : MachineStore.ReadOrExplain(folder).ExitCode ?? KilledCode;
    }

    public static HostException NotRunning(MachineFolder folder) => new($"{folder.Name}: it does not run");

    /// <summary>The machine's command is in somebody else's hands.</summary>
    private static void CheckIsOwn(MachineFolder folder, MachineRecord record, string remedy)
    {
        if (record.Foreground)
        {
            throw new HostException($"{folder.Name}: it {(folder.IsRunning ? "runs" : "ran")} in the foreground; {remedy}");
        }
    }

    /// <summary>So that its process does not start it again. Where nothing can be written that is only in the way of a machine that would.
    /// </summary>
    private static void MarkToStop(MachineFolder folder, MachineRecord record)
    {
        try
        {
            folder.IsToStop = true;
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            if (record.Restart != RestartPolicy.NoText)
            {
                throw new HostException($"{folder.Path}: {why}, and it would be started again (--restart); 'kill -9 {record.Pid}' ends it all the same");
            }
        }
    }

    /// <returns>Null also for one that is removed meanwhile.</returns>
    private static MachineProcess? TryFind(MachineFolder folder)
    {
        try
        {
            return MachineProcess.TryFind(folder);
        }
        catch (HostException) when (!Directory.Exists(folder.Path))
        {
            return null;
        }
    }

    private void Kill(MachineFolder folder, MachineProcess process)
    {
        try
        {
            // Over the control socket, so that its disks are closed and its files removed.
            control(folder, folder.ControlPath(MachineStore.ReadOrExplain(folder)), "kill");
        }
        catch (HostException)
        {
            process.Signal(LibC.SIGKILL);
        }

        if (!process.WaitForEnd(KillPatience))
        {
            process.Signal(LibC.SIGKILL);
            if (!process.WaitForEnd(KillPatience))
            {
                throw new HostException($"{folder.Name}: its process does not end, though it was killed; it waits for the host, for a disk for instance");
            }
        }
    }

    private static void SetLimits(MachineFolder folder, MachineRecord record, MachineLimits limits)
    {
        Cgroup[] groups = [.. record.Cgroups.Select(static path => new Cgroup(path))];
        if (limits.Kinds.FirstOrDefault(kind => !groups.Any(group => group.Has(kind))) is { } missing)
        {
            throw new HostException(
                $"{folder.Name}: it was started without {missing.Option}, so there is no cgroup to change; stop it, then update and start it");
        }

        foreach (Cgroup group in groups)
        {
            group.Set(limits);
        }
    }

    private void ResumeIfPaused(MachineFolder folder)
    {
        if (MachinePoll.Look([folder], TimeSpan.FromSeconds(1)) is [{ State: MachineStateName.Paused, Record: { } record }])
        {
            control(folder, folder.ControlPath(record), "resume");
        }
    }

    /// <summary>Where its process could not write down how it ended: it was killed, between two lives or at once.</summary>
    private void CompleteRecord(MachineFolder folder, string verdict, int code)
    {
        try
        {
            if (!store.TryRemoveDeadForeground(folder.Name))
            {
                Complete(folder, verdict, code);
            }
        }
        catch (HostException) when (!Directory.Exists(folder.Path))
        {
            // One in the foreground takes its directory away when it ends.
        }
        catch (Exception error) when (error is HostException or ErrnoException or IOException or UnauthorizedAccessException)
        {
            Stderr.WriteLine($"vmm: {folder.Name}: it has ended, and that cannot be written down: {FileErrors.Describe(error) ?? error.Message}");
        }
    }

    private static void Complete(MachineFolder folder, string verdict, int code)
    {
        using FileDescriptor change = folder.LockForChange();
        if (folder.IsRunning || MachineStore.ReadOrExplain(folder) is not { } record)
        {
            return;
        }

        if (record.ExitCode is null)
        {
            (record with { Ended = DateTimeOffset.UtcNow, Verdict = verdict, ExitCode = code, Again = null }).Write(folder.Path);
        }
        else if (record.Again is not null)
        {
            (record with { Again = null }).Write(folder.Path);
        }

        MachineStore.RemoveLeft(folder, record);
    }
}
