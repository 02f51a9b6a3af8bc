using System.Text.Json;
using Vmm.Assist;

namespace Vmm.Insight.Profile;

/// <summary>What the exits of one row have in common.</summary>
/// <param name="Reason">Why KVM_RUN came back, without the prefix: <c>IO</c>, <c>MMIO</c>.</param>
/// <param name="Device"><c>COM1</c>, <c>virtio-blk0</c>; empty where the exit has none.</param>
/// <param name="What">The register, the instruction, the MSR; empty where there is none.</param>
/// <param name="Access"><c>read 4</c>, <c>write 1</c>; empty where it is none.</param>
internal sealed record ExitName(string Reason, string Device, string What, string Access)
{
    /// <summary>On one line: <c>COM1 THR write 1</c>.</summary>
    public override string ToString() =>
        string.Join(' ', ((string[])[Device.Length == 0 ? Reason : Device, What, Access]).Where(part => part.Length != 0));
}

/// <summary>Exits of one vCPU that share a name, with the time that they took.</summary>
internal sealed class ExitRow(ExitName name)
{
    public ExitName Name { get; } = name;

    /// <summary>For the trace: encoded once.</summary>
    public JsonEncodedText TraceName => (_traceName ??= new Encoded(JsonEncodedText.Encode(Name.ToString()))).Text;
    private Encoded? _traceName;

    /// <summary>In KVM_RUN before the exit: the guest, and what the kernel did for it.</summary>
    public LatencyHistogram InKvm { get; } = new();

    /// <summary>In user space, from the exit to the next KVM_RUN.</summary>
    public LatencyHistogram InVmm { get; } = new();

    private sealed record Encoded(JsonEncodedText Text);
}
