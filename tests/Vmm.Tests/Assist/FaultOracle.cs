using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vmm.Tests.Assist;

/// <summary>A C program that survives the signals which an instruction raises; .NET would not.</summary>
internal static class FaultOracle
{
    /// <summary>struct test_case of fault_oracle.c.</summary>
    [StructLayout(LayoutKind.Explicit, Size = Length)]
    internal unsafe struct Case
    {
        public const int Length = 3456, ImageLength = 3072, MemoryLength = 256;

        [FieldOffset(0)]
        public fixed byte Image[ImageLength];

        [FieldOffset(3072)]
        public fixed byte Memory[MemoryLength];

        [FieldOffset(3328)]
        public fixed byte Code[16];

        [FieldOffset(3344)]
        public uint Offset;

        [FieldOffset(3348)]
        public uint Signal;

        [FieldOffset(3352)]
        public uint Mxcsr;
    }

    /// <summary>Why it cannot be had; null if it can.</summary>
    public static string? Missing { get; } =
        File.Exists("/usr/bin/gcc") || File.Exists("/usr/bin/cc") ? null : "this machine has no C compiler";

    /// <summary>Runs all cases and fills in what they raised.</summary>
    public static void Run(Span<Case> cases)
    {
        string folder = Directory.CreateTempSubdirectory("vmm-oracle").FullName;
        try
        {
            string program = Path.Combine(folder, "oracle");
            string source = Path.Combine(AppContext.BaseDirectory, "Assist", "fault_oracle.c");
            using (Process compiler = Process.Start("cc", ["-O1", "-mno-red-zone", "-fomit-frame-pointer", "-o", program, source]))
            {
                compiler.WaitForExit();
                Assert.Equal(0, compiler.ExitCode);
            }

            // Through files, so that neither side waits for the other.
            string input = Path.Combine(folder, "in"), result = Path.Combine(folder, "out");
            File.WriteAllBytes(input, MemoryMarshal.AsBytes(cases).ToArray());
            using (Process oracle = Process.Start("sh", ["-c", $"exec {program} < {input} > {result}"]))
            {
                oracle.WaitForExit();
                Assert.Equal(0, oracle.ExitCode);
            }

            byte[] bytes = File.ReadAllBytes(result);
            Assert.Equal(cases.Length * Case.Length, bytes.Length);
            bytes.CopyTo(MemoryMarshal.AsBytes(cases));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
