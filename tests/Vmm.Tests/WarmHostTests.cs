using System.Diagnostics;
using Vmm.Tests.Shared;

namespace Vmm.Tests;

/// <summary>Machines that stay in a warm emulated host (firmware/kvm-host), with stand-ins for the host and for vmm: tests/WarmHost. Needs
/// gcc, as the build does.</summary>
public sealed class WarmHostTests
{
    [Fact]
    public void Machines_run_on_in_it_and_are_stopped_before_it_ends()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("vmm-warm-");
        try
        {
            using Process run = Process.Start(new ProcessStartInfo(Path.Combine(SourceTree.Root, "tests/WarmHost/run"), [folder.FullName])
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
            })!;
            run.StandardInput.Close();
            string said = run.StandardOutput.ReadToEnd();
            run.WaitForExit();
            Assert.Equal(
                """
                db
                vmm: the emulated host runs (process N); it ends after N idle seconds, or by 'vmm host stop'
                web
                here, 0 commands, machines: db web
                bad
                code 5, and nothing stays of it
                here, 0 commands, machines: db web
                vmm: stopping what runs in the emulated host first: last
                no emulated host is running
                db was told
                last was told

                """,
                said);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}
