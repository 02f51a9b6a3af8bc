using BenchmarkDotNet.Attributes;
using Vmm.Bench.Guests;

namespace Vmm.Bench;

/// <summary>Times what guests do, by their own clock: each iteration is one batch of the yardstick in C, then one of
/// vmm, so that whatever else the host does meets both.</summary>
/// <remarks>BenchmarkDotNet leads through the iterations; what it would time is a batch as a whole, so the tables are
/// made of the guests' samples instead (<see cref="GuestTable"/>).</remarks>
public abstract class GuestBenchmarks
{
    private static readonly int[] Levels = [0, 3];
    private static readonly Dictionary<string, GuestResult> Results = [];

    private readonly List<uint[]> _vmm = [], _yardstick = [];
    private GuestMachine? _machine;
    private Yardstick? _inC;

    [ParamsSource(nameof(Names))]
    public string Exit { get; set; } = "";

    public IEnumerable<string> Names => Possible().Select(each => Name(each.Scenario, each.Cpl));

    private protected abstract IReadOnlyList<Scenario> Scenarios { get; }

    private Scenario Current => Possible().Single(each => Name(each.Scenario, each.Cpl) == Exit).Scenario;

    [GlobalSetup]
    public void SetUp()
    {
        Scenario scenario = Current;
        _machine = new GuestMachine(scenario, Exit.EndsWith('3') ? 3 : 0);
        if (scenario.HasYardstick)
        {
            _inC = new Yardstick(_machine, scenario.Count);
        }
    }

    [IterationSetup]
    public void TimeYardstick() => Run(_inC, _yardstick);

    [Benchmark]
    public void TimeVmm() => Run(_machine, _vmm);

    [GlobalCleanup]
    public void CleanUp()
    {
        // The first batch of each warms up.
        if (_vmm.Count > 1)
        {
            uint khz = _machine!.TscKhz;
            bool compared = _yardstick.Count > 1;
            Results[Exit] = new GuestResult(Current.Name, Exit.EndsWith('3') ? 3 : 0)
            {
                Vmm = new Distribution(_vmm.Skip(1).SelectMany(each => each), khz),
                Yardstick = compared ? new Distribution(_yardstick.Skip(1).SelectMany(each => each), khz) : null,
                Ratio = compared ? MedianRatio() : null,
            };
        }

        _inC?.Dispose();
        _machine?.Dispose();
    }

    /// <summary>What was measured, in the order of the scenarios, and what cannot be had, with the reason.
    /// </summary>
    internal IEnumerable<GuestResult> TakeResults()
    {
        foreach (Scenario scenario in Scenarios)
        {
            foreach (int cpl in Levels)
            {
                if (Results.Remove(Name(scenario, cpl), out GuestResult? result))
                {
                    yield return result;
                }
                else if (cpl == 3 && scenario.KernelOnly is { Length: > 0 } reason
                    && BenchOptions.Current.Wants(GetType().Name, Name(scenario, cpl)))
                {
                    yield return new GuestResult(scenario.Name, cpl) { Without = reason };
                }
            }
        }
    }

    private static string Name(Scenario scenario, int cpl) => $"{scenario.Name}, CPL {cpl}";

    private void Run(IBatches? batches, List<uint[]> results)
    {
        if (batches is not null)
        {
            uint[] samples = new uint[Current.Count];
            batches.Run(samples);
            results.Add(samples);
        }
    }

    private IEnumerable<(Scenario Scenario, int Cpl)> Possible() => Scenarios.SelectMany(
        each => Levels.Where(cpl => cpl == 0 || each.KernelOnly is null).Select(cpl => (each, cpl)));

    /// <summary>A batch of one and the batch of the other before it make a round.</summary>
    private double MedianRatio()
    {
        double[] ratios = [.. _vmm.Skip(1).Zip(_yardstick.Skip(1), (ours, theirs) => Median(ours) / Median(theirs))];
        Array.Sort(ratios);
        return ratios[ratios.Length / 2];
    }

    private static double Median(uint[] samples)
    {
        uint[] sorted = [.. samples];
        Array.Sort(sorted);
        return sorted[sorted.Length / 2];
    }
}

/// <summary>Exits of one vCPU.</summary>
public class ExitBenchmarks : GuestBenchmarks
{
    private protected override IReadOnlyList<Scenario> Scenarios => Guests.Scenarios.Exits;
}

/// <summary>Events and interrupts, in and out of guests and between vCPUs.</summary>
public class InterruptBenchmarks : GuestBenchmarks
{
    private protected override IReadOnlyList<Scenario> Scenarios => Guests.Scenarios.Interrupts;
}

/// <summary>Instructions of the guest's kernel that the assist finishes on PVM hosts, through KVM and back.</summary>
public class AssistedInstructionBenchmarks : GuestBenchmarks
{
    private protected override IReadOnlyList<Scenario> Scenarios => Guests.Scenarios.Assisted;
}
