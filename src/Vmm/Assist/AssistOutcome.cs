namespace Vmm.Assist;

/// <summary>What the assist made of an instruction.</summary>
/// <param name="Kind">What happened.</param>
/// <param name="Text">For <see cref="AssistKind.Unknown"/>: the instruction, where it is, its bytes and what is the
/// matter, on one line for the user. Otherwise null.</param>
internal readonly record struct AssistOutcome(AssistKind Kind, string? Text = null);

internal enum AssistKind
{
    /// <summary>Done; the guest goes on behind it.</summary>
    Handled,

    /// <summary>Done: the guest gets an exception at the next KVM_RUN.</summary>
    Injected,

    /// <summary>The VM cannot go on.</summary>
    Unknown,
}
