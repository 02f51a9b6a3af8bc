using System.Diagnostics.Metrics;
using Vmm.Control;
using Vmm.Daemon.Machines;
using Vmm.Named;

namespace Vmm.Daemon.Observing;

/// <summary>What machines use, as OpenTelemetry's instruments; asked of the machines when somebody reads them, and then only.</summary>
internal sealed class MachineMetrics
{
    public const string MeterName = "Vmm.Daemon";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly MachineRegistry _registry;

    public MachineMetrics(MachineRegistry registry, IMeterFactory factory)
    {
        _registry = registry;
        Meter meter = factory.Create(MeterName);
        meter.CreateObservableGauge("vmm.machines", Count, "{machine}", "Machines, by state");
        meter.CreateObservableGauge("vmm.machine.memory.size", () => Views(static view => (long?)view.Memory), "By", "Memory that the guest has");
        meter.CreateObservableGauge("vmm.machine.cpus", () => Views(static view => view.Cpus), "{cpu}", "Virtual CPUs");
        meter.CreateObservableGauge("vmm.machine.uptime", () => Views(static view => view.Uptime), "s", "Since the guest's first instruction");
        meter.CreateObservableGauge(
            "vmm.machine.memory.resident", () => Each<long>(static (_, use, labels) => [Measure(use.Resident, labels)]), "By", "Memory of the host that it takes");
        meter.CreateObservableCounter(
            "vmm.machine.cpu.time", () => Each<double>(static (_, use, labels) => [Measure(use.CpuTime, labels)]), "s", "Processor time, the guest's included");
        meter.CreateObservableCounter(
            "vmm.machine.exits", () => Each(static (_, use, labels) =>
                use.ExitsByReason.Select(each => Measure(each.Value, labels, "reason", each.Key))), "{exit}", "Returns to user space, by reason");
        meter.CreateObservableCounter(
            "vmm.machine.disk.requests", () => Each(Disks), "{request}", "Requests of the guest to its disks");
        meter.CreateObservableCounter(
            "vmm.machine.network.io", () => Each(Bytes), "By", "Bytes that its network cards sent and received");
        meter.CreateObservableCounter(
            "vmm.machine.network.frames", () => Each(Frames), "{frame}", "Frames that its network cards sent and received");
    }

    /// <summary>What each machine said last of its use, by name.</summary>
    public IEnumerable<(string Machine, ControlStatistics Use)> Statistics =>
        _registry.All.Where(static machine => machine.Statistics is not null).Select(static machine => (machine.Name, machine.Statistics!));

    /// <summary>Asks all that run for their figures; those that do not answer in time are left out.</summary>
    public async Task RefreshAsync(CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(Patience);
        await Task.WhenAll(_registry.All.Where(static machine => machine.Link is not null).Select(async machine =>
        {
            try
            {
                await machine.AskStatisticsAsync(limit.Token);
            }
            catch (Exception error) when (error is MachineException or OperationCanceledException)
            {
            }
        }));
    }

    private static Measurement<T> Measure<T>(T value, KeyValuePair<string, object?> machine, params ReadOnlySpan<string> labels)
        where T : struct
    {
        var tags = new KeyValuePair<string, object?>[1 + (labels.Length / 2)];
        tags[0] = machine;
        for (int i = 1; i < tags.Length; i++)
        {
            tags[i] = new(labels[(2 * i) - 2], labels[(2 * i) - 1]);
        }

        return new Measurement<T>(value, tags);
    }

    private static IEnumerable<Measurement<long>> Disks(string name, ControlStatistics use, KeyValuePair<string, object?> machine) =>
        use.Disks.SelectMany(disk => (Measurement<long>[])
        [
            Measure(disk.Reads, machine, "disk", disk.Name, "operation", "read"),
            Measure(disk.Writes, machine, "disk", disk.Name, "operation", "write"),
            Measure(disk.Flushes, machine, "disk", disk.Name, "operation", "flush"),
            Measure(disk.Discards, machine, "disk", disk.Name, "operation", "discard"),
        ]);

    private static IEnumerable<Measurement<long>> Bytes(string name, ControlStatistics use, KeyValuePair<string, object?> machine) =>
        use.Nets.SelectMany(net => (Measurement<long>[])
        [
            Measure(net.SentBytes, machine, "interface", net.Name, "direction", "transmit"),
            Measure(net.ReceivedBytes, machine, "interface", net.Name, "direction", "receive"),
        ]);

    private static IEnumerable<Measurement<long>> Frames(string name, ControlStatistics use, KeyValuePair<string, object?> machine) =>
        use.Nets.SelectMany(net => (Measurement<long>[])
        [
            Measure(net.SentFrames, machine, "interface", net.Name, "direction", "transmit"),
            Measure(net.ReceivedFrames, machine, "interface", net.Name, "direction", "receive"),
        ]);

    private IEnumerable<Measurement<int>> Count() => _registry.All.GroupBy(static machine => machine.View.State)
        .Select(static state => new Measurement<int>(state.Count(), new KeyValuePair<string, object?>("state", StateName(state.Key))));

    private static string StateName(MachineStateName state) => state.ToString().ToLowerInvariant();

    private IEnumerable<Measurement<T>> Views<T>(Func<Api.MachineView, T?> pick)
        where T : struct
    {
        foreach (WatchedMachine machine in _registry.All.Where(static machine => machine.IsLive))
        {
            if (pick(machine.View) is { } value)
            {
                yield return Measure(value, Label(machine));
            }
        }
    }

    private IEnumerable<Measurement<T>> Each<T>(
        Func<string, ControlStatistics, KeyValuePair<string, object?>, IEnumerable<Measurement<T>>> measure)
        where T : struct
    {
        foreach (WatchedMachine machine in _registry.All)
        {
            if (machine.Statistics is { } use)
            {
                foreach (Measurement<T> each in measure(machine.Name, use, Label(machine)))
                {
                    yield return each;
                }
            }
        }
    }

    private static KeyValuePair<string, object?> Label(WatchedMachine machine) => new("machine", machine.Name);
}
