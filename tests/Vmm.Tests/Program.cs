using Vmm.Tests.Disks;
using Vmm.Tests.Kvm;
using Vmm.Tests.Shared;

namespace Vmm.Tests;

/// <summary>What this assembly does as a program. The test platform loads it, and does not run it.</summary>
internal static class Program
{
    public static int Main(string[] arguments) => arguments switch
    {
        [KvmCases.Command, .. string[] filters] => KvmCases.Run(filters),
        [CaseRunner.Command, string list, string claims] => CaseRunner.Run(typeof(Program).Assembly, list, claims),
        [Qcow2Writer.Command, string image, string seed, string flushes] => Qcow2Writer.Run(image, seed, flushes),
        _ => 64,
    };
}
