using System.Globalization;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Named.Limits;

/// <summary>What the host gives a machine at most, by a cgroup (cgroups(7)): its vmm, the guest and the programs that serve it.
/// </summary>
/// <param name="Cpu">Processors, as 1.5; null for no limit.</param>
/// <param name="MemoryHigh">Bytes from which on its memory is taken back; null for no limit.</param>
/// <param name="Io">Of block devices; null for no limit.</param>
internal sealed record MachineLimits(double? Cpu, ulong? MemoryHigh, IoLimit? Io = null)
{
    public const string CpuOption = "--cpu-limit", MemoryOption = "--mem-high", IoOption = "--io-limit";

    public const string NoLimit = "none";

    public static MachineLimits None { get; } = new(null, null);

    /// <summary>What is limited.</summary>
    public IReadOnlyList<LimitKind> Kinds =>
    [
        .. Cpu is null ? [] : (LimitKind[])[LimitKind.Cpu],
        .. MemoryHigh is null ? [] : (LimitKind[])[LimitKind.Memory],
        .. Io is null ? [] : (LimitKind[])[LimitKind.Io],
    ];

    /// <exception cref="UsageException">It is no such number.</exception>
    public static double? ParseCpu(string text) => text == NoLimit ? null
        : double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number) && number is >= 0.01 and <= 4096
            ? number
            : throw new UsageException($"{CpuOption} {text}: takes a number of processors from 0.01 to 4096, as 1.5, or {NoLimit}");

    /// <exception cref="UsageException">It is no size, or less than a machine needs to live.</exception>
    public static ulong? ParseMemory(string text)
    {
        const ulong Least = 16 << 20;
        ulong? bytes = text == NoLimit ? null : ByteSize.Parse(text, MemoryOption);
        return bytes is null or >= Least
            ? bytes
            : throw new UsageException($"{MemoryOption} {text}: too little for vmm alone; give at least {ByteSize.Format(Least)}, or {NoLimit}");
    }
}
