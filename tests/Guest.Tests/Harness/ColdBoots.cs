using System.Runtime.CompilerServices;

namespace Vmm.Guest.Tests.Harness;

/// <summary>The tests of this assembly are about machines that boot: none goes on from the user's cache, or fills it.</summary>
internal static class ColdBoots
{
    [ModuleInitializer]
    internal static void Demand() => Environment.SetEnvironmentVariable("VMM_COLD", "1");
}
