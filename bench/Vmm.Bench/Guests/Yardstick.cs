using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vmm.Bench.Guests;

/// <summary>Runs the same guest by yardstick.c, compiled when first needed.</summary>
internal sealed class Yardstick : IBatches
{
    private static readonly Lazy<string> Program = new(Compile);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly string _machine = Path.GetTempFileName();
    private readonly Process _process;

    /// <param name="machine">The machine to copy; not yet started is best, but it may run.</param>
    /// <param name="count">Samples in a batch.</param>
    public Yardstick(GuestMachine machine, int count)
    {
        machine.Save(_machine, count);
        _process = Process.Start(new ProcessStartInfo(Program.Value, [_machine])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
    }

    public void Run(Span<uint> samples)
    {
        _process.StandardInput.BaseStream.WriteByte(1);
        _process.StandardInput.BaseStream.Flush();

        // A guest that hangs must not hang the run.
        using var watchdog = new Timer(_ => _process.Kill(), null, Patience, Timeout.InfiniteTimeSpan);
        _process.StandardOutput.BaseStream.ReadExactly(MemoryMarshal.AsBytes(samples));
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(Patience))
        {
            _process.Kill();
        }

        _process.Dispose();
        File.Delete(_machine);
    }

    private static string Compile()
    {
        string source = Path.Combine(Repository.Root, "bench", "Vmm.Bench", "Guests", "yardstick.c");
        string program = Path.Combine(Directory.CreateDirectory(Path.Combine(Repository.Root, "out", "bench")).FullName, "yardstick");
        using Process gcc = Process.Start("gcc", ["-O2", "-Wall", "-Wextra", "-pthread", "-o", program, source]);
        gcc.WaitForExit();
        return gcc.ExitCode == 0 ? program : throw new InvalidOperationException($"gcc could not compile {source}");
    }
}
