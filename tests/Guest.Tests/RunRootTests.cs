using System.Formats.Tar;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>The root file systems of <c>vmm run</c>.</summary>
public sealed class RunRootTests
{
    [KvmFact]
    public void This_hosts_tree_is_the_root_and_only_the_working_directory_is_written_to_with_rw()
    {
        using var here = new TemporaryFolder();
        using var vmm = VmmProcess.StartInShell(
            $"cd {here.Path} && exec \"$@\"",
            "run", "--kernel", Product.Vmlinux, "-m", "128M", "--rw", "--",
            "sh", "-c", "pwd; head -c 4 /proc/self/exe | tail -c 3; echo; echo x >made; echo y >/usr/vmm-test-gone && cat /usr/vmm-test-gone; "
            + "ls -A /run | wc -l; mount | grep -c ' / type overlay'; id -u");
        vmm.CloseInput();
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal((0, $"{here.Path}\nELF\ny\n0\n1\n0\n"), (ended.Code, ended.Output));
        Assert.Equal("x\n", File.ReadAllText(here["made"]));
        Assert.False(File.Exists("/usr/vmm-test-gone"));
    }

    [KvmFact]
    public void A_directory_is_packed_where_it_cannot_be_shared_and_may_be_written_to()
    {
        using var tree = new TemporaryFolder();
        MakeTree(tree.Path);
        VmmProcess.Ended ended = VmmProcess.Run(
            "run", "--kernel", Product.Vmlinux, "-m", "64M", "--root", tree.Path, "--pack", "--",
            "/bin/busybox", "sh", "-c", "read line </etc/name; echo $line; echo new >/etc/name; read line </etc/name; echo $line");
        Assert.Equal((0, "the tree\nnew\n"), (ended.Code, ended.Output));
        Assert.Matches(@"^vmm: packing .* into an image\nvmm: packed: [0-9.]+ MiB in [0-9.]+ s\n$", ended.Error);
        Assert.Equal("the tree\n", File.ReadAllText(tree["etc/name"]));
    }

    [KvmFact]
    public void An_archive_is_a_root()
    {
        using var folder = new TemporaryFolder();
        MakeTree(folder["tree"]);
        TarFile.CreateFromDirectory(folder["tree"], folder["root.tar"], includeBaseDirectory: false);
        VmmProcess.Ended ended = VmmProcess.Run(
            "run", "--kernel", Product.Vmlinux, "-m", "64M", "--root", folder["root.tar"], "--",
            "/bin/busybox", "sh", "-c", "read line </etc/name; echo $line; echo new >/etc/name; read line </etc/name; echo $line");
        Assert.Equal((0, "the tree\nnew\n"), (ended.Code, ended.Output));
    }

    private static void MakeTree(string path)
    {
        Directory.CreateDirectory($"{path}/bin");
        Directory.CreateDirectory($"{path}/etc");
        File.WriteAllText($"{path}/etc/name", "the tree\n");
        File.Copy("/bin/busybox", $"{path}/bin/busybox");
    }
}
