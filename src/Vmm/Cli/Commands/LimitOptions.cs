using System.CommandLine;
using Vmm.Named.Limits;

namespace Vmm.Cli.Commands;

/// <summary>Limits of a machine in the background: --cpu-limit, --mem-high and --io-limit.</summary>
internal sealed class LimitOptions
{
    private readonly Option<string?> _cpu = new(MachineLimits.CpuOption)
    {
        Description = "Of a machine in the background: processor time that it gets at most, in processors, by a cgroup; 'vmm update' changes it",
        HelpName = "N|none",
    };

    private readonly Option<string?> _memory = new(MachineLimits.MemoryOption)
    {
        Description = "Of a machine in the background: memory above which the host takes back what it can, and slows it down, by a cgroup "
            + "(memory.high); where there is only cgroup v1 no more than a goal for when memory is short",
        HelpName = "SIZE|none",
    };

    private readonly Option<string?> _io = new(MachineLimits.IoOption)
    {
        Description = "Of a machine in the background: what it reads of each block device of the host a second at most, and writes as much "
            + "again, in bytes and requests, by a cgroup (io.max; blkio.throttle where there is only cgroup v1, which does not count what "
            + "is written through the page cache)",
        HelpName = "bw=SIZE,iops=N|none",
    };

    public static IReadOnlyList<string> Names => [MachineLimits.CpuOption, MachineLimits.MemoryOption, MachineLimits.IoOption];

    public IEnumerable<Option> All => [_cpu, _memory, _io];

    /// <summary>The first that is there; null for none.</summary>
    public string? Given(ParseResult result) => All.FirstOrDefault(option => result.GetResult(option) is not null)?.Name;

    /// <summary>What the options change; what is not given stays.</summary>
    /// <exception cref="Host.UsageException">A value is wrong.</exception>
    public Func<MachineLimits, MachineLimits> Change(ParseResult result)
    {
        string? cpu = result.GetValue(_cpu), memory = result.GetValue(_memory), io = result.GetValue(_io);
        double? processors = cpu is null ? null : MachineLimits.ParseCpu(cpu);
        ulong? bytes = memory is null ? null : MachineLimits.ParseMemory(memory);
        IoLimit? devices = io is null ? null : IoLimit.Parse(io);
        return before => new MachineLimits(
            cpu is null ? before.Cpu : processors, memory is null ? before.MemoryHigh : bytes, io is null ? before.Io : devices);
    }
}
