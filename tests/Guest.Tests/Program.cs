using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>What this assembly does as a program. The test platform loads it, and does not run it.</summary>
internal static class Program
{
    public static int Main(string[] arguments) => arguments switch
    {
        [CaseRunner.Command, string list, string claims] => CaseRunner.Run(typeof(Program).Assembly, list, claims),
        _ => 64,
    };
}
