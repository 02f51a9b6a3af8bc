using System.Globalization;
using Vmm.Control;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Named.Limits;
using Vmm.Snapshots.Forks;

namespace Vmm.Cli;

/// <summary>Starts the forks of a machine: each is a machine with a name, of its own process.</summary>
/// <param name="plan">What the machine says of itself.</param>
/// <param name="limits">Those that it has.</param>
/// <param name="files">What the forks go on from.</param>
/// <param name="isAsked">The machine's guest asked for them.</param>
internal sealed class MachineForks(MachineStore store, ControlForkPlan plan, MachineLimits limits, IReadOnlyList<int> files, bool isAsked)
{
    private readonly Queue<StartingMachine> _starting = [];
    private int _lastNumber;

    /// <summary>Starts them, as many at a time as there are processors, and prints the name of each once it is up.</summary>
    /// <param name="exact">What a single one is called; null for a name with a number behind it.</param>
    /// <returns>The exit code. Where one does not come up, no further are started.</returns>
    public int Start(int count, string? exact, string prefix)
    {
        using var signals = new SignalPipe(LibC.SIGINT, LibC.SIGTERM, LibC.SIGHUP, LibC.SIGQUIT);
        try
        {
            int code = ExitCodes.Success;
            for (int number = 1; code == ExitCodes.Success && (number <= count || _starting.Count > 0);)
            {
                if (number <= count && _starting.Count < HostProcessors.Count)
                {
                    _starting.Enqueue(Begin(number++, exact, prefix));
                    continue;
                }

                using StartingMachine first = _starting.Dequeue();
                code = Finish(first, first.Await(signals));
            }

            return code;
        }
        finally
        {
            foreach (StartingMachine left in _starting)
            {
                left.End();
                left.Dispose();
                RemoveOrTell(left.Folder);
            }
        }
    }

    private void RemoveOrTell(MachineFolder folder)
    {
        try
        {
            store.Remove(folder);
        }
        catch (HostException error)
        {
            Stderr.WriteLine($"vmm: {error.Message}");
        }
    }

    private StartingMachine Begin(int number, string? exact, string prefix)
    {
        while (true)
        {
            MachineRecord record = RecordOf(exact ?? MachineName.Check(
                string.Create(CultureInfo.InvariantCulture, $"{prefix}-{++_lastNumber}"), "--name"));
            if (store.TryCreate(record) is { } made)
            {
                try
                {
                    return MachineStart.Begin(made.Folder, record, made.Life, (new ForkNumber(number, isAsked).ToString(), files));
                }
                catch
                {
                    store.Remove(made.Folder);      // there was no process
                    throw;
                }
            }

            if (exact is not null)
            {
                throw MachineStore.Taken(exact);
            }
        }
    }

    private MachineRecord RecordOf(string name) => new()
    {
        Version = MachineRecord.CurrentVersion,
        Name = name,
        CommandLine = MachineStart.ForkWords(plan.CommandLine, name),
        Directory = plan.Directory,
        HasAgent = plan.Agent,
        Kernel = plan.Kernel,
        Memory = plan.Memory,
        Cpus = plan.Cpus,
        Limits = limits,
        StopTimeout = plan.StopTimeout,
        Runtime = store.Runtime,
        Created = DateTimeOffset.UtcNow,
    };

    private int Finish(StartingMachine fork, MachineStarted started)
    {
        if (started.Code is not { } code)
        {
            Stdout.WriteLine(fork.Folder.Name);
            return ExitCodes.Success;
        }

        store.Remove(fork.Folder);
        Stderr.Write(started.LastWords);
        Stderr.WriteLine($"vmm: {fork.Folder.Name}: {started.Why}");
        return code;
    }
}
