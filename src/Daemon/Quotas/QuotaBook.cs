using System.Globalization;
using Microsoft.Extensions.Options;
using Vmm.Daemon.Hosting;
using Vmm.Daemon.Machines;

namespace Vmm.Daemon.Quotas;

/// <summary>What a user's machines take, of its quota.</summary>
internal sealed record QuotaUse(
    uint User, int Machines, long Memory, int Cpus, int? MostMachines = null, long? MostMemory = null, int? MostCpus = null);

/// <summary>Keeps users to their shares: machines, those that ended included; memory and virtual CPUs of those that run. Any thread.</summary>
internal sealed class QuotaBook(IOptions<DaemonOptions> options, Owners owners, MachineRegistry registry)
{
    private readonly Lock _lock = new();
    private readonly HashSet<string> _starting = new(StringComparer.Ordinal);

    public QuotaUse Of(uint user)
    {
        lock (_lock)
        {
            return Use(user);
        }
    }

    /// <summary>Takes a share for a machine that is to be made or started; it is given back when the result is disposed of, and from then
    /// on the machine itself counts, if it has come to be.</summary>
    /// <exception cref="MachineException">The name is taken, or the share too small.</exception>
    /// <exception cref="IOException">That cannot be written down.</exception>
    public IDisposable Take(string machine, OwnerRecord wanted, bool isNew)
    {
        lock (_lock)
        {
            if (_starting.Contains(machine) || (isNew && (registry.Find(machine) is not null || owners.Find(machine) is not null)))
            {
                throw new MachineException("name-taken", "there is a machine of this name already, or one is being started");
            }

            QuotaUse use = Use(wanted.Uid);
            Check("machines", use.Machines + (isNew ? 1 : 0), use.MostMachines, static number => number.ToString(CultureInfo.InvariantCulture));
            Check("memory", use.Memory + wanted.Memory, use.MostMemory, Sizes.Format);
            Check("CPUs", use.Cpus + wanted.Cpus, use.MostCpus, static number => number.ToString(CultureInfo.InvariantCulture));
            if (isNew)
            {
                owners.Add(machine, wanted);
            }

            _starting.Add(machine);
            return new Share(this, machine);
        }
    }

    private static void Check(string what, long wanted, long? most, Func<long, string> format)
    {
        if (wanted > most)
        {
            throw new MachineException("quota", $"{what}: {format(wanted)} with this one, and your quota is {format(most.Value)}");
        }
    }

    private QuotaUse Use(uint user)
    {
        DaemonOptions given = options.Value;
        QuotaOptions quota = given.Quotas.GetValueOrDefault(user.ToString(CultureInfo.InvariantCulture)) ?? given.Quota;
        int machines = 0, cpus = 0;
        long memory = 0;
        var counted = new HashSet<string>(StringComparer.Ordinal);
        foreach (WatchedMachine machine in registry.All.Where(machine => machine.Owner == user))
        {
            counted.Add(machine.Name);
            machines++;
            if (machine.IsLive)
            {
                memory += (long)(machine.View.Memory ?? 0);
                cpus += machine.View.Cpus ?? 0;
            }
            else if (_starting.Contains(machine.Name) && owners.Find(machine.Name) is { } starting)
            {
                (memory, cpus) = (memory + starting.Memory, cpus + starting.Cpus);
            }
        }

        foreach ((string name, OwnerRecord record) in owners.All)
        {
            if (record.Uid == user && counted.Add(name))
            {
                (machines, memory, cpus) = (machines + 1, memory + record.Memory, cpus + record.Cpus);
            }
        }

        long? mostMemory = quota.Memory is { } text && Sizes.TryParse(text, out long bytes) ? bytes : null;
        return new QuotaUse(user, machines, memory, cpus, quota.Machines, mostMemory, quota.Cpus);
    }

    private sealed class Share(QuotaBook book, string machine) : IDisposable
    {
        public void Dispose()
        {
            lock (book._lock)
            {
                book._starting.Remove(machine);
            }
        }
    }
}
