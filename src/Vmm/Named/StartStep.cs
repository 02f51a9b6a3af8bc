namespace Vmm.Named;

/// <summary>One step of a machine's start.</summary>
/// <param name="Name">What was reached: <c>first instruction</c>; of a machine of <c>vmm run</c> also <c>agent</c>, <c>command starts</c>.</param>
/// <param name="At">Seconds since the machine's vmm was started.</param>
internal sealed record StartStep(string Name, double At);
