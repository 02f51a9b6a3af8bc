namespace Vmm.Named.Limits;

/// <summary>A kind of limit, and how cgroups of both versions call it (linux/Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/).
/// </summary>
/// <param name="Option">That gives it.</param>
/// <param name="Controller">Of cgroup v2.</param>
/// <param name="OldController">Of cgroup v1.</param>
/// <param name="File">Of cgroup v2: one that holds it.</param>
/// <param name="OldFile">Of cgroup v1.</param>
internal sealed record LimitKind(string Option, string Controller, string OldController, string File, string OldFile)
{
    public static LimitKind Cpu { get; } = new(MachineLimits.CpuOption, "cpu", "cpu", "cpu.max", "cpu.cfs_quota_us");

    public static LimitKind Memory { get; } = new(MachineLimits.MemoryOption, "memory", "memory", "memory.high", "memory.soft_limit_in_bytes");

    public static LimitKind Io { get; } = new(MachineLimits.IoOption, "io", "blkio", "io.max", "blkio.throttle.read_bps_device");
}
