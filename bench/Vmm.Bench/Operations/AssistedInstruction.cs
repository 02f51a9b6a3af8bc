using Iced.Intel;
using Vmm.Assist;
using Vmm.Host;

namespace Vmm.Bench.Operations;

/// <summary>An instruction that the assist can finish. Its memory operand is at RSI; RAX and RDX hold ones, RCX 0.</summary>
/// <param name="Name">As the manual writes it.</param>
/// <param name="Write">Assembles it.</param>
/// <param name="Needs">What the processor must have for it.</param>
internal sealed record AssistedInstruction(string Name, Action<Assembler> Write, params CpuidFeature[] Needs)
{
    /// <summary>Run once before, to make ready what it reads.</summary>
    public Action<Assembler>? Before { get; init; }

    /// <summary>EDX:EAX say what it saves or restores; in a guest they are set anew each time.</summary>
    public bool TakesMask => Name.StartsWith("XSAVE", StringComparison.Ordinal)
        || Name.StartsWith("XRSTOR", StringComparison.Ordinal);

    /// <summary>May a guest of a few instructions run it? Not with registers that its XCR0 lacks.</summary>
    public bool RunsInGuest => !Name.Contains("512", StringComparison.Ordinal);

    /// <summary>Does this processor have it?</summary>
    public bool IsHere => Needs.All(need => HostFeatures.Ask([need]) != FeatureAnswer.Absent
        && (need is not (CpuidFeature.XSAVE or CpuidFeature.XSAVEC or CpuidFeature.XSAVES)
            || Processor.Features.Contains(need.ToString().ToLowerInvariant())));
}
