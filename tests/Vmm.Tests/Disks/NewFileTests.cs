using System.CommandLine;
using System.Diagnostics;
using Vmm.Backends.Disks.Qcow2;
using Vmm.Cli.Commands;
using Vmm.Host;

namespace Vmm.Tests.Disks;

public sealed class NewFileTests : IDisposable
{
    private readonly DiskRig _rig = new();

    public void Dispose() => _rig.Dispose();

    [LoopFact]      // root, that is
    public void On_a_full_file_system_nothing_is_left_behind()
    {
        string folder = Path.Combine(_rig.Directory, "small");
        Directory.CreateDirectory(folder);
        Run("mount", "-t", "tmpfs", "-o", "size=64k", "none", folder);
        try
        {
            Exception error = Assert.ThrowsAny<Exception>(() => Qcow2Image.Create(Path.Combine(folder, "x.qcow2"), 1 << 30));
            Assert.Contains("x.qcow2: ", error.Message, StringComparison.Ordinal);
            Assert.Empty(Directory.GetFileSystemEntries(folder));
        }
        finally
        {
            Run("umount", folder);
        }
    }

    [Fact]
    public void What_is_there_stays()
    {
        string path = _rig.File("x.qcow2", [1, 2, 3]);
        foreach (string format in (string[])["raw", "qcow2"])
        {
            var error = Assert.Throws<UsageException>(() => DiskCommand.Create().Parse(["create", path, "1M", "-f", format])
                .Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false }));
            Assert.Contains("is there already", error.Message, StringComparison.Ordinal);
            Assert.Equal([1, 2, 3], File.ReadAllBytes(path));
        }
    }

    private static void Run(string tool, params string[] arguments)
    {
        using Process process = Process.Start(tool, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
