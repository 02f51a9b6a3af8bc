using Iced.Intel;

namespace Vmm.Bench.Guests;

/// <summary>One thing that a guest can time.</summary>
/// <param name="Name">As tables show it.</param>
/// <param name="Count">Samples in a batch.</param>
/// <param name="Write">Assembles it; may use RAX, RBX, RCX and RDX. See <see cref="GuestProgram"/> for the others.</param>
internal sealed record Scenario(string Name, int Count, Action<Assembler> Write)
{
    /// <summary>Assembled once, at the start.</summary>
    public Action<Assembler>? Before { get; init; }

    /// <summary>Why a program (CPL 3) cannot do it, or "" where that means nothing; null where it can.</summary>
    public string? KernelOnly { get; init; }

    /// <summary>It takes a second vCPU, which waits halted or spinning.</summary>
    public bool NeedsPartner { get; init; }

    public bool PartnerHalts { get; init; }

    /// <summary>The timer's handler takes the samples.</summary>
    public bool HandlerSamples { get; init; }

    /// <summary>The yardstick in C can do it as well: it needs no assist.</summary>
    public bool HasYardstick { get; init; } = true;
}
