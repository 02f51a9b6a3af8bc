using System.Globalization;
using Vmm.Devices.Virtio.Balloon;
using Vmm.Devices.Virtio.Block;
using Vmm.Insight.Profile;
using Vmm.Insight.Recorder;
using Vmm.Kvm;
using Vmm.Kvm.Abi;
using Vmm.Machines;

namespace Vmm.Control;

/// <summary>Reads what a machine counts anyway. Any thread.</summary>
internal static class MachineStatistics
{
    public static ControlStatistics Of(Machine machine) => new()
    {
        Exits = [.. machine.Vcpus.Select(static vcpu => vcpu.Exits.Total)],
        ExitsByReason = ByReason(machine.Vcpus),
        ExitsByDevice = machine.Observer is { Recorders: { Count: > 0 } recorders } ? ByDevice(recorders) : null,
        CpuTime = Math.Round(Environment.CpuUsage.TotalTime.TotalSeconds, 3),
        Resident = Resident(),
        Balloon = machine.Balloon is { } balloon ? Balloon(balloon, machine) : null,
        Disks =
        [
            .. machine.Disks.Select(static disk => new DiskFigures(
                disk.Device.Name,
                disk.Disk.Backend.Length,
                disk.Device.Sent(DiskOperation.Read),
                disk.Device.Sent(DiskOperation.Write),
                disk.Device.Sent(DiskOperation.Flush),
                disk.Device.Sent(DiskOperation.Discard))),
        ],
        Nets =
        [
            .. machine.Nets.Select(static net => new NetFigures(
                net.Name, net.SentFrames, net.SentBytes, net.SendDropped, net.ReceivedFrames, net.ReceivedBytes, net.ReceiveDropped)),
        ],
    };

    private static SortedDictionary<string, long> ByReason(IReadOnlyList<VcpuThread> vcpus)
    {
        var counts = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (VcpuThread vcpu in vcpus)
        {
            ReadOnlySpan<long> ofVcpu = vcpu.Exits.Counts;
            for (int reason = 0; reason < ofVcpu.Length; reason++)
            {
                if (ofVcpu[reason] != 0)
                {
                    string name = ((KvmExitReason)reason).ToString().Replace("KVM_EXIT_", "", StringComparison.Ordinal);
                    counts[name] = counts.GetValueOrDefault(name) + ofVcpu[reason];
                }
            }
        }

        return counts;
    }

    private static List<ExitFigures> ByDevice(IReadOnlyList<ExitRecorder> recorders)
    {
        var figures = new List<ExitFigures>();
        foreach (IGrouping<(string, string), ExitRow> rows in recorders.SelectMany(static each => each.Rows)
            .GroupBy(static row => (row.Name.Reason, row.Name.Device)).OrderBy(static rows => rows.Key))
        {
            var times = new LatencyHistogram();
            foreach (ExitRow row in rows)
            {
                times.Add(row.InVmm);
            }

            long[] below = new long[((ExitFigures.MostPower - ExitFigures.LeastPower) / ExitFigures.PowerStep) + 1];
            for (int i = 0; i < below.Length; i++)
            {
                below[i] = times.CountBelow(ExitFigures.LeastPower + (i * ExitFigures.PowerStep));
            }

            // A vCPU may be counting: no bucket is to have more than all.
            figures.Add(new ExitFigures(
                rows.Key.Item1, rows.Key.Item2, Math.Max(times.Count, below[^1]), Math.Round(times.Sum / 1e9, 9), below));
        }

        return figures;
    }

    /// <summary>Has the guest asked for newer figures, which the next call tells.</summary>
    private static BalloonFigures Balloon(VirtioBalloon balloon, Machine machine)
    {
        BalloonStatistics? said = machine.BalloonStatistics();
        ulong all = machine.Ram.Memory.Size;
        return new BalloonFigures(
            all - balloon.Target, all - Math.Min(balloon.Actual, all), balloon.Released, said?.Free, said?.Available);
    }

    /// <summary>The second number of /proc/self/statm, in pages (proc(5)).</summary>
    private static long Resident() => long.Parse(
        File.ReadAllText("/proc/self/statm").Split(' ')[1], CultureInfo.InvariantCulture) * Environment.SystemPageSize;
}
