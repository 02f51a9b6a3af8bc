using System.Security.Cryptography;
using System.Xml.Linq;
using Vmm.Guest.Tests.Harness;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>The lines by which <c>vmm run</c> is explained, typed into a shell as they stand; each does what it says. Those that are
/// not here: <c>vmm run -it -- sh</c> is in <see cref="RunTests"/>, the one with Debian's kernel in scripts/test-distro.</summary>
public sealed class RunLinesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Two at a time, as most machines have two processors.</summary>
    [KvmFact]
    public void Each_line_does_what_it_says()
    {
        // The kernel that is taken where none is named: the newest that is kept (or this host's own, where it can be read).
        Assert.Equal(0, Type(".", $"vmm kernel add {Product.BzImage} --name test").Code);
        Parallel.Invoke(
            new ParallelOptions { MaxDegreeOfParallelism = 2 },
            A_command, A_kernel_of_ones_own, A_disk_image, What_is_kept_of_a_disk_image, Another_tree, Standard_streams, A_machine_for_each);
    }

    private void A_command()
    {
        VmmProcess.Ended ended = Type(".", "vmm run -- uname -a");
        Assert.True(ended.Code == 0, ended.Error);
        Assert.Matches(@"^Linux vmm [0-9]\S+ .* x86_64 GNU/Linux\n$", ended.Output);
    }

    private void A_kernel_of_ones_own()
    {
        string here = Folder("own");
        File.CreateSymbolicLink($"{here}/bzImage", Product.BzImage);
        File.WriteAllText($"{here}/data", "what lies here\n");
        Script($"{here}/run-tests.sh", "cat data; pwd; { echo x >made; } 2>/dev/null || echo cannot be written to; echo told >&2; exit 1");
        VmmProcess.Ended ended = Type(here, "vmm run --kernel ./bzImage -- ./run-tests.sh");
        Assert.True(ended.Code == 1, ended.Error);
        Assert.Equal($"what lies here\n{here}\ncannot be written to\n", ended.Output);
        Assert.Equal("told\n", ended.Error);
    }

    private void A_disk_image()
    {
        string here = Folder("disk");
        _folder.CopyOfRootfs("disk/rootfs.img");
        byte[] before = Hash($"{here}/rootfs.img");
        VmmProcess.Ended ended = Type(here, "vmm run --root rootfs.img -- sh -c 'dmesg | tail'");
        Assert.True(ended.Code == 0, ended.Error);
        Assert.Matches(@"^(\[ *[0-9.]+\] .*\n){10}$", ended.Output);
        Assert.Equal(before, Hash($"{here}/rootfs.img"));
    }

    private void What_is_kept_of_a_disk_image()
    {
        string here = Folder("keep");
        _folder.CopyOfRootfs("keep/rootfs.img");
        byte[] before = Hash($"{here}/rootfs.img");
        VmmProcess.Ended ended = Type(here, "vmm run --root rootfs.img --keep changes.qcow2 -- sh -c 'echo mine >/kept'");
        Assert.True(ended.Code == 0, ended.Error);
        Assert.Equal(before, Hash($"{here}/rootfs.img"));
        HostTool.Do("qemu-img", "convert", "-O", "raw", $"{here}/changes.qcow2", $"{here}/changed.img");
        HostTool.AssertClean($"{here}/changed.img");
        Assert.Contains("mine\n", HostTool.Run("debugfs", "-R", "cat /kept", $"{here}/changed.img").Said, StringComparison.Ordinal);
    }

    private void Another_tree()
    {
        string here = Folder("tree");
        File.WriteAllText($"{here}/Makefile", "check:\n\techo made on $$(uname -n) >/out/made\n\tls -d /bin /etc || true\n");
        VmmProcess.Ended ended = Type(here, """
            mkdir -p tree/bin out
            cp --parents -L "$(command -v make)" $(ldd "$(command -v make)" | grep -o '/[^ ]*') tree
            for each in sh ls uname true; do cp /bin/busybox tree/bin/$each; done
            vmm run --root ./tree --share ./out:/out,rw -- make check
            """);
        Assert.True(ended.Code == 0, ended.Error);
        Assert.Contains("/bin\n", ended.Output, StringComparison.Ordinal);
        Assert.Contains("ls: /etc: No such file or directory\n", ended.Error, StringComparison.Ordinal);
        Assert.Equal("made on vmm\n", File.ReadAllText($"{here}/out/made"));
    }

    private void Standard_streams()
    {
        string here = Folder("streams");
        foreach (string name in (string[])["one", "two", "three"])
        {
            File.WriteAllText($"{here}/{name}", name);
        }

        VmmProcess.Ended ended = Type(here, "tar c . | vmm run -- sh -c 'tar x -C /tmp && ls /tmp' | sort");
        Assert.True(ended.Code == 0, ended.Error);
        Assert.Contains("one\nthree\ntwo\n", ended.Output, StringComparison.Ordinal);
    }

    private void A_machine_for_each()
    {
        string here = Folder("each");
        Directory.CreateDirectory($"{here}/tests");
        Script($"{here}/tests/good.sh", "echo fine");
        Script($"{here}/tests/bad.sh", "echo not fine; exit 3");
        VmmProcess.Ended ended = Type(here, "vmm run --each 'tests/*.sh' --parallel 4 --junit report.xml -- sh {}");
        Assert.True(ended.Code == 1, ended.Error);
        Assert.Matches(@"(?m)^FAIL \[ *[0-9.]+s\] tests/bad\.sh  \(exit code 3\)\n    not fine\n", ended.Error);
        Assert.Matches(@"(?m)^PASS \[ *[0-9.]+s\] tests/good\.sh\n", ended.Error);
        XElement[] suites = [.. XDocument.Load($"{here}/report.xml").Root!.Elements("testsuite")];
        Assert.Equal(
            [("tests/bad.sh", 1), ("tests/good.sh", 0)],
            suites.Select(static each => (each.Attribute("name")!.Value, each.Descendants("failure").Count())));
    }

    /// <summary>Types it into a shell. Kernels are kept apart from this user's.</summary>
    private VmmProcess.Ended Type(string directory, string line)
    {
        using var shell = VmmProcess.StartInShell(
            $"export XDG_CACHE_HOME={_folder["cache"]} VMM=\"$1\"; vmm() {{ \"$VMM\" \"$@\"; }}; cd {Path.Combine(_folder.Path, directory)}\n{line}");
        shell.CloseInput();
        return shell.WaitForEnd();
    }

    private string Folder(string name) => Directory.CreateDirectory(_folder[name]).FullName;

    private static void Script(string path, string text)
    {
        File.WriteAllText(path, $"#!/bin/sh\n{text}\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private static byte[] Hash(string path)
    {
        using FileStream file = File.OpenRead(path);
        return SHA256.HashData(file);
    }
}
