using Iced.Intel;
using Vmm.Assist;

namespace Vmm.Tests.Assist;

/// <summary>A test that runs instructions which this processor may lack: then it is shown as skipped.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class RequiresFactAttribute : FactAttribute
{
    public RequiresFactAttribute(params CpuidFeature[] features) => Skip = Requirement.Missing(features);
}

/// <inheritdoc cref="RequiresFactAttribute"/>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class RequiresTheoryAttribute : TheoryAttribute
{
    public RequiresTheoryAttribute(params CpuidFeature[] features) => Skip = Requirement.Missing(features);
}

internal static class Requirement
{
    public static string? Missing(CpuidFeature[] features) =>
        HostFeatures.Ask(features) == FeatureAnswer.Present
            ? null
            : "this processor lacks " + string.Join(" or ", features);
}
