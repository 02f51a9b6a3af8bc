namespace Vmm.Guest.Tests.Harness;

/// <summary>A test that makes itself a host like PVM's: skipped, visibly, where scripts/test found that it cannot.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class PvmHostFactAttribute : FactAttribute
{
    public PvmHostFactAttribute() => Skip = Environment.GetEnvironmentVariable("VMM_NO_PVM_HOST");
}
