using Vmm.Boot;
using Vmm.Boot.Tests;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>The command line as people type it: mistakes are told in one line that says what to write instead, and nothing
/// that the library does unasked happens.</summary>
public sealed class CommandLineTests
{
    private const byte GuestsCode = 7;

    /// <summary>What the library takes for something else than what was typed.</summary>
    [Theory]
    [InlineData("kernel @nothing: no such file", "--kernel", "@nothing")]
    [InlineData("no such command '@nothing'", "@nothing")]
    [InlineData("no such command '/h'; did you mean '--help'?", "/h")]
    [InlineData("no such command '/?'; did you mean '--help'?", "/?")]
    [InlineData("no such option '-?'; did you mean '--help'?", "-?")]
    [InlineData("no such command '[suggest:3]'", "[suggest:3]", "vmm")]
    [InlineData("no such command '[diagram]'", "[diagram]", "check")]
    [InlineData("no such command 'vmm'", "vmm", "check")]
    [InlineData("no such option '--mem:1G'; did you mean '--mem=1G'?", "--mem:1G")]
    [InlineData("no such option '-p2'; did you mean '-p 2'?", "-p2")]
    [InlineData("no such option '-m512M'; did you mean '-m 512M'?", "-m512M", "--kernel", "x")]
    [InlineData("no such option '-kd'", "-kd", "x")]
    [InlineData("--stats takes no value: leave '=false' out", "--stats=false")]
    [InlineData("no such command 'true'", "--stats", "true")]
    [InlineData("--kernel takes a value, FILE|NAME, but '--disk' is an option, too ('vmm --help' tells more)", "--kernel", "--disk", "x")]
    [InlineData("--kernel takes a value, FILE|NAME ('vmm --help' tells more)", "--kernel")]
    [InlineData("--kernel= has no value; an empty one is: --kernel ''", "--kernel=")]
    [InlineData("--profile takes its value in the same word: --profile=x.json", "--kernel", "x", "--profile", "x.json")]
    [InlineData("--mem is given 2 times; give it once", "--mem", "1G", "-m", "2G")]
    [InlineData("--mem is no option of 'vmm check' ('vmm check --help' tells more)", "--mem", "1G", "check")]
    [InlineData("no such option '--foo' ('vmm inspect --help' tells more)", "inspect", "--foo")]
    [InlineData("no such option '-a'; a command goes behind --, as in: vmm run -- uname -a", "run", "uname", "-a")]
    [InlineData("no such option '-l'; a command goes behind --, as in: vmm exec m -- ls -l", "exec", "m", "ls", "-l")]
    [InlineData("no such option '--size'", "disk", "create", "--size", "x.img", "1G")]
    [InlineData("'c' is one too many: vmm snapshot MACHINE DIR", "snapshot", "./a", "b", "c")]
    [InlineData("DIR is missing: vmm snapshot MACHINE DIR", "snapshot", "--live", "./a")]
    [InlineData("DIR is missing: vmm snapshot merge BASE DIFF DIR", "snapshot", "merge", "a", "b")]
    [InlineData("a/snapshot.json: no such file", "snapshot", "merge", "a", "b", "c")]
    [InlineData("--diff takes a value, BASE", "snapshot", "./a", "b", "--diff")]
    public void What_the_library_would_make_of_it_is_refused(string said, params string[] arguments) => AssertTold(said, arguments);

    /// <summary>What the library's root command would drop: a first word that ends in /vmm.</summary>
    [Theory]
    [InlineData("kernel /nonexistent/vmm: no such file", "--kernel=/nonexistent/vmm")]
    [InlineData("kernel /nonexistent/vmm: no such file", "--kernel", "/nonexistent/vmm")]
    [InlineData("kernel check: no such file", "--kernel", "check")]
    [InlineData("kernel -: no such file", "--kernel", "-")]
    public void A_value_may_be_any_word(string said, params string[] arguments) => AssertTold(said, arguments);

    [Fact]
    public void A_binary_file_behind_an_at_sign_is_not_read()
    {
        using var folder = new TemporaryFolder();
        string file = folder.Write("binary", [0, 0xff, (byte)'"', (byte)'\n', 0x80, (byte)'@', (byte)'@']);
        AssertTold($"no such command '@{file}'", ["@" + file]);
        AssertTold($"kernel @{file}: no such file", ["--kernel", "@" + file, "--cmdline", "@" + file]);
    }

    [Theory]
    [InlineData("no such option '--kernle'; did you mean '--kernel'? ('vmm --help' tells more)", "--kernle", "x")]
    [InlineData("no such option '--memory'; vmm's is: --mem 1G", "--memory=1G")]
    [InlineData("no such option '--trasport'; did you mean '--transport'?", "--trasport", "mmio")]
    [InlineData("no such option '--frmat'; did you mean '--format'? ('vmm exits --help' tells more)", "exits", "--frmat", "json")]
    [InlineData("no such option '--backng'; did you mean '--backing'? ('vmm disk create --help' tells more)", "disk", "create", "--backng", "x")]
    [InlineData("no such command 'exit'; did you mean 'exits'? ('vmm --help' tells more)", "exit")]
    [InlineData("no such command 'boottimeline'; did you mean 'boot-timeline'?", "boottimeline")]
    [InlineData("no such command 'crate'; did you mean 'create'? ('vmm disk --help' tells more)", "disk", "crate")]
    [InlineData("no such command 'chek'; did you mean 'check'?", "help", "chek")]
    [InlineData("no such option 'readnly' (did you mean 'readonly'?); there are: readonly", "--kernel", "x", "--disk", "d,readnly")]
    [InlineData("no such mode 'usr' (did you mean 'user'?); there are user", "--kernel", "x", "--net", "usr")]
    public void A_mistyped_word_is_reported_with_a_suggestion(string said, params string[] arguments) => AssertTold(said, arguments);

    [Theory]
    [InlineData("no such option '-kernel', which is QEMU's; vmm's is: --kernel bzImage ('vmm --help' tells more)", "-kernel", "bzImage")]
    [InlineData("vmm's is: --cmdline 'quiet init=/bin/sh'", "-append", "quiet init=/bin/sh", "-kernel", "bzImage")]
    [InlineData("vmm's is: --cpus 4", "-smp", "4")]
    [InlineData("vmm's is: --cpus 4", "-smp", "cpus=4,sockets=2")]
    [InlineData("vmm's is: --disk a.img,format=raw", "-drive", "file=a.img,if=virtio,format=raw")]
    [InlineData("vmm's is: --disk a.img,readonly", "-drive", "if=virtio,file=a.img,readonly=on")]
    [InlineData("vmm's is: --disk a.img", "-hda", "a.img")]
    [InlineData("vmm's is: --disk a.iso,readonly", "-cdrom", "a.iso")]
    [InlineData("vmm's is: --initrd i.gz", "-initrd", "i.gz")]
    [InlineData("vmm's is: --net user", "-nic", "user,model=virtio")]
    [InlineData("vmm's is: --net tap=tap0", "-netdev", "tap,id=n0,ifname=tap0")]
    [InlineData("vmm's is: --rng", "-device", "virtio-rng-pci")]
    [InlineData("-nographic', which is QEMU's; leave it out: the guest's console is this terminal", "-nographic")]
    [InlineData("-enable-kvm', which is QEMU's; leave it out: vmm is one kind of machine", "-enable-kvm")]
    [InlineData("did you mean '--version'?", "-version")]
    [InlineData("no such option '--rm'; leave it out: nothing of the machine stays", "run", "--rm", "--", "ls")]
    [InlineData("vmm's is: --share ./out:/out,rw", "run", "--volume", "./out:/out", "--", "ls")]
    [InlineData("vmm's is: --share a:/b", "run", "--mount", "type=bind,source=a,target=/b,readonly", "--", "ls")]
    [InlineData("'./out:/out' is in front of --, where targets of vmm.json go, and there is none here; a directory of this host is shared by "
        + "--share ./out:/out", "run", "-v", "./out:/out", "--", "ls")]
    [InlineData("vmm's is: --kernel bzImage", "run", "-r", "bzImage", "--", "ls")]
    [InlineData("vmm's is: --share /a:/a,rw", "run", "--rwdir", "/a", "--", "ls")]
    [InlineData("vmm's is: --share out:/b", "run", "--rodir=/b=out", "--", "ls")]
    [InlineData("vmm's is: --net user,publish=8080:80", "run", "--publish", "8080:80", "--", "ls")]
    [InlineData("no such option '--exec'; the command goes behind --", "run", "--exec", "ls")]
    [InlineData("did you mean '--help'?", "-help")]
    [InlineData("did you mean '--stats'?", "-stats")]
    public void Options_of_other_monitors_lead_to_those_of_vmm(string said, params string[] arguments) => AssertTold(said, arguments);

    [Theory]
    [InlineData("did you mean --disk a.img,readonly? (path=a.img itself is ./path=a.img)", "--disk", "path=a.img,readonly")]
    [InlineData("did you mean --disk a.img?", "--disk", "file=a.img")]
    [InlineData("--mem 512: too little to boot in; give at least 32M; a number alone is bytes: did you mean 512M?", "--mem", "512")]
    [InlineData("--mem 33554431: too little", "--mem", "33554431")]
    [InlineData("--mem 33554433: not a multiple of 4K", "--mem", "33554433")]
    [InlineData("--mem 1Q: not a size; give bytes, or a number with K, M, G or T, for instance 512M ('vmm --help' tells more)", "--mem", "1Q")]
    [InlineData("--disk d,bw=1Q: bw 1Q: not a size", "--disk", "d,bw=1Q")]
    [InlineData("--cpu hst: ", "--cpu", "hst")]
    public void A_wrong_value_is_reported_with_a_right_one(string said, params string[] arguments) =>
        AssertTold(said, ["--kernel", "nothing", .. arguments]);

    /// <summary>Each names the option or argument, and the help of the command that it belongs to.</summary>
    [Theory]
    [InlineData("no kernel given: vmm --kernel bzImage --disk rootfs.img ('vmm --help' tells more)")]
    [InlineData("no kernel given: vmm exits --kernel bzImage --disk rootfs.img ('vmm exits --help' tells more)", "exits")]
    [InlineData("--transport usb: no such transport; there are pci and mmio ('vmm exits --help' tells more)", "exits", "-k", "x", "--transport", "usb")]
    [InlineData("--format xml: no such format; there are table, json and folded ('vmm exits --help' tells more)", "exits", "-k", "x", "--format", "xml")]
    [InlineData("--until: give init, shell, or a text to wait for ('vmm boot-timeline --help' tells more)", "boot-timeline", "-k", "x", "--until", "")]
    [InlineData("a command is missing: vmm disk create ('vmm disk --help' tells more)", "disk")]
    [InlineData("PATH is missing: vmm disk create PATH [SIZE] ('vmm disk create --help' tells more)", "disk", "create")]
    [InlineData("SIZE is missing: vmm disk create PATH SIZE, for instance 10G ('vmm disk create --help' tells more)", "disk", "create", "x.img")]
    [InlineData("'2G' is one too many: vmm disk create PATH [SIZE] ('vmm disk create --help' tells more)", "disk", "create", "x.img", "1G", "2G")]
    [InlineData("SIZE 1Q: not a size; give bytes, or a number with K, M, G or T, for instance 512M ('vmm disk create --help' tells more)", "disk", "create", "x.img", "1Q")]
    [InlineData("--format vdi: no such format; there are raw and qcow2 ('vmm disk create --help' tells more)", "disk", "create", "x.img", "1G", "-f", "vdi")]
    [InlineData("FILE|MACHINE is missing: vmm inspect FILE|MACHINE ('vmm inspect --help' tells more)", "inspect")]
    [InlineData("SHELL tcsh: no completion for it; there are bash, zsh and fish ('vmm completion --help' tells more)", "completion", "tcsh")]
    [InlineData("--compare takes a value, A.json B.json ('vmm boot-timeline --help' tells more)", "boot-timeline", "--compare", "a.json")]
    public void A_usage_error_names_what_is_wrong_and_the_right_help(string said, params string[] arguments) => AssertTold(said, arguments);

    [Theory]
    [InlineData("vmm --kernel FILE [OPTION...]", "help")]
    [InlineData("vmm --kernel FILE [OPTION...]", "--help")]
    [InlineData("vmm --kernel FILE [OPTION...]", "-h")]
    [InlineData("vmm exits --kernel FILE [OPTION...]", "help", "exits")]
    [InlineData("vmm exits --kernel FILE [OPTION...]", "exits", "--bogus", "--help")]
    [InlineData("vmm disk create [OPTION...] PATH [SIZE]", "help", "disk", "create")]
    [InlineData("vmm disk create [OPTION...] PATH [SIZE]", "disk", "create", "-h")]
    [InlineData("vmm disk create [OPTION...] PATH [SIZE]", "disk", "create", "--help")]
    public void Help_is_there_in_every_usual_way(string usage, params string[] arguments)
    {
        VmmProcess.Ended ended = VmmProcess.Run(arguments);
        Assert.Equal("", ended.Error);
        Assert.Equal(ExitCodes.Success, ended.Code);
        Assert.Contains($"Usage: {usage}\n", ended.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\e', ended.Output);
        Assert.All(ended.Output.Split('\n'), line => Assert.True(line.Length <= 100, line));
    }

    [Theory]
    [InlineData("version")]
    [InlineData("--version")]
    [InlineData("-V")]
    public void The_version_is_there_in_every_usual_way(string argument)
    {
        VmmProcess.Ended ended = VmmProcess.Run(argument);
        Assert.Equal(ExitCodes.Success, ended.Code);
        Assert.Matches(@"\Avmm \d+\.\d+\.\d+( \(commit [0-9a-f]{12}\))?\n\z", ended.Output);
    }

    [Theory]
    [InlineData("--help")]
    [InlineData("help")]
    [InlineData("--version")]
    [InlineData("completion", "bash")]
    public void What_is_printed_to_a_full_disk_is_an_error(params string[] arguments)
    {
        using VmmProcess vmm = VmmProcess.StartInShell("exec \"$@\" >/dev/full", arguments);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(ExitCodes.HostCannot, ended.Code);
        OneLine.AssertIs("No space left on device", ended.Error);
    }

    /// <summary>Nothing is wrong with the command line then. (The runtime has one file open itself, a machine two for
    /// its signals before.)</summary>
    [Theory]
    [InlineData(4, ": Too many open files", "--kernel", "{0}")]
    [InlineData(4, "{0}: Too many open files", "inspect", "{0}")]
    [InlineData(6, "--trace {0}.json: Too many open files", "--kernel", "{0}", "--trace", "{0}.json")]
    [InlineData(4, "--output {0}.txt: Too many open files", "exits", "--kernel", "{0}", "--output", "{0}.txt")]
    [InlineData(4, "--compare {0}: Too many open files", "boot-timeline", "--compare", "{0}", "{0}")]
    [InlineData(4, "{0}.img: Too many open files", "disk", "create", "{0}.img", "1M")]
    [InlineData(4, "{0}.qcow2: Too many open files", "disk", "create", "{0}.qcow2", "1M")]
    public void Too_many_open_files_are_the_hosts_fault(int limit, string said, params string[] arguments)
    {
        using var folder = new TemporaryFolder();
        string kernel = folder.Write("kernel", MadeUp.BzImage());
        string before = folder.Inventory();
        using VmmProcess vmm = VmmProcess.StartInShell(
            $"ulimit -n {limit}; exec \"$@\"", arguments.Select(word => word.Replace("{0}", kernel, StringComparison.Ordinal)));
        VmmProcess.Ended ended = vmm.WaitForEnd();
        OneLine.AssertIs(said.Replace("{0}", kernel, StringComparison.Ordinal), ended.Error);
        Assert.Contains("ulimit -n", ended.Error, StringComparison.Ordinal);
        Assert.Equal(ExitCodes.HostCannot, ended.Code);
        Assert.Equal(before, folder.Inventory());
    }

    /// <summary>Batch systems limit addresses (RLIMIT_AS), too; the collector would like more of them than anybody needs.</summary>
    [Fact]
    public void A_gigabyte_of_addresses_is_enough_to_start()
    {
        using VmmProcess vmm = VmmProcess.StartInShell("ulimit -v 1000000; exec \"$@\"", "--version");
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(("", ExitCodes.Success), (ended.Error, ended.Code));
    }

    /// <summary>Whichever of a machine's files is the one too many.</summary>
    [KvmFact]
    public void Too_few_files_for_a_machine_are_the_hosts_fault()
    {
        using var folder = new TemporaryFolder();
        string[] arguments =
        [
            "--kernel", folder.Write("kernel", KernelThatEnds()), "--initrd", folder.Write("initrd", new byte[512]),
            "--disk", folder.WriteSparse("disk", 4096),
        ];
        const int Enough = 64;
        string said = "";
        for (int files = 4; files < Enough; files++)
        {
            // Not in one with the exec: to redirect there, dash wants a descriptor above 9.
            using VmmProcess vmm = VmmProcess.StartInShell($"exec </dev/null; ulimit -n {files}; exec \"$@\"", arguments);
            VmmProcess.Ended ended = vmm.WaitForEnd();
            if (ended.Error.Contains("error while loading shared libraries", StringComparison.Ordinal))
            {
                continue;       // vmm itself has not begun
            }

            if (!ended.Error.Contains("Too many open files", StringComparison.Ordinal))
            {
                Assert.Equal(GuestsCode, ended.Code);
                Assert.Contains("--disk ", said, StringComparison.Ordinal);
                Assert.Contains("vmm: initrd ", said, StringComparison.Ordinal);
                Assert.Contains("vmm: kernel ", said, StringComparison.Ordinal);
                return;
            }

            // In front of it may stand what is told of this kernel.
            OneLine.AssertIs("Too many open files", ended.Error.Split('\n')[^2] + "\n");
            Assert.Equal(ExitCodes.HostCannot, ended.Code);
            said += ended.Error;
        }

        Assert.Fail("a machine needs more files than that: " + said);
    }

    [KvmFact]
    public void A_kernel_with_an_unknown_payload_boots_and_says_how()
    {
        using var folder = new TemporaryFolder();
        string kernel = folder.Write("kernel", KernelThatEnds());
        VmmProcess.Ended ended = VmmProcess.Run("--kernel", kernel);
        OneLine.AssertIs(
            $"vmm: kernel {kernel}: its compression is unknown to vmm: it is booted anyway and unpacks itself in the guest",
            ended.Error);
        Assert.Equal(GuestsCode, ended.Code);
    }

    [Fact]
    public void A_size_may_be_a_number_of_bytes()
    {
        using var folder = new TemporaryFolder();
        VmmProcess.Ended ended = VmmProcess.Run("disk", "create", folder["a.img"], "1048576");
        Assert.Equal(("", ExitCodes.Success), (ended.Error, ended.Code));
        Assert.Equal(1048576, new FileInfo(folder["a.img"]).Length);
    }

    [Theory]
    [InlineData("base.img")]
    [InlineData("base.qcow2")]
    public void An_image_on_another_is_as_large_as_that(string name)
    {
        using var folder = new TemporaryFolder();
        VmmProcess.Ended made = VmmProcess.Run("disk", "create", folder[name], "3M");
        Assert.Equal(("", ExitCodes.Success), (made.Error, made.Code));
        VmmProcess.Ended ended = VmmProcess.Run("disk", "create", "-b", name, folder["child.qcow2"]);
        Assert.Equal(("", $"{folder["child.qcow2"]}: qcow2, 3M\n", ExitCodes.Success), (ended.Error, ended.Output, ended.Code));
    }

    /// <summary>A bzImage with a payload of no known format, whose 64-bit entry ends the machine with a code.</summary>
    private static byte[] KernelThatEnds()
    {
        byte[] image = MadeUp.BzImage();
        byte[] code = [0x66, 0xba, 0xf4, 0x00, 0xb0, GuestsCode, 0xee, 0xf4];      // mov dx, 0xf4; mov al, 7; out dx, al; hlt
        code.CopyTo(image, ((MadeUp.SetupSects + 1) * 512) + (int)BzImage.Entry64);
        return image;
    }

    private static void AssertTold(string said, string[] arguments)
    {
        VmmProcess.Ended ended = VmmProcess.Run(arguments);
        OneLine.AssertIs(said, ended.Error);
        Assert.Equal(ExitCodes.Usage, ended.Code);
        Assert.Equal("", ended.Output);
    }
}
