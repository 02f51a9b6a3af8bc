using Vmm.Boot.Tests;
using Vmm.Guest.Tests.Harness;
using Vmm.Machines;
using Vmm.Tests.Shared;

namespace Vmm.Guest.Tests;

/// <summary>What users get wrong: one clear line, the code for usage, no stack trace, nothing changed on disk.</summary>
public sealed class BadInputTests
{
    private static readonly Dictionary<string, Mistake> Kernels = new(StringComparer.Ordinal)
    {
        ["missing"] = new("no such file", folder => ["--kernel", folder["nothing"]]),
        ["a directory"] = new("is a directory", folder => ["--kernel", folder.Path]),
        ["empty"] = new("is empty", folder => Kernel(folder, [])),
        ["not given"] = new("no kernel given", _ => []),
        ["no kernel at all"] = new("kernel", folder => Kernel(folder, new byte[8192])),
        ["a bzImage without HdrS"] = new("kernel", folder => Kernel(folder, BadKernels.WithoutSetup())),
        ["a bzImage without boot flag"] = new("kernel", folder => Kernel(folder, BadKernels.WithoutBootFlag())),
        ["a bzImage cut in its setup header"] = new("kernel", folder => Kernel(folder, BadKernels.CutInSetup())),
        ["a bzImage cut before the kernel"] = new("setup_sects", folder => Kernel(folder, BadKernels.CutBeforeKernel())),
        ["a bzImage cut in the kernel"] = new("is cut short", folder => Kernel(folder, BadKernels.CutInKernel())),
        ["absurd setup_sects"] = new("setup_sects 255", folder => Kernel(folder, BadKernels.TooManySetupSectors())),
        ["absurd init_size"] = new("absurd init_size", folder => Kernel(folder, BadKernels.AbsurdInitSize())),
        ["absurd payload offset"] = new("payload", folder => Kernel(folder, BadKernels.AbsurdPayload())),
        ["an old boot protocol"] = new("boot protocol", folder => Kernel(folder, BadKernels.OldProtocol())),
        ["a bzImage for 32 bits"] = new("64", folder => Kernel(folder, BadKernels.Without64BitEntry())),
        ["an ELF cut in its header"] = new("cut short", folder => Kernel(folder, BadKernels.CutInElfHeader())),
        ["an ELF cut in its program headers"] =
            new("cut short", folder => Kernel(folder, BadKernels.CutInProgramHeaders())),
        ["an ELF cut in a segment"] = new("cut short", folder => Kernel(folder, BadKernels.CutInSegment())),
        ["an ELF for ARM"] = new("another processor", folder => Kernel(folder, BadKernels.ElfForArm())),
        ["an ELF that is not linked"] = new("not an executable", folder => Kernel(folder, BadKernels.ElfRelocatable())),
        ["segments that overlap"] = new("overlap", folder => Kernel(folder, BadKernels.OverlappingSegments())),
        ["a segment that wraps"] = new("segment", folder => Kernel(folder, BadKernels.WrappingSegment())),
    };

    private static readonly Dictionary<string, Mistake> Options = new(StringComparer.Ordinal)
    {
        ["--mem 0"] = new("--mem 0", folder => [.. Good(folder), "--mem", "0"]),
        ["--mem 1Q"] = new("--mem 1Q: not a size", folder => [.. Good(folder), "--mem", "1Q"]),
        ["--mem -1G"] = new("--mem", folder => [.. Good(folder), "--mem=-1G"]),
        ["--mem 16M"] = new("at least 32M", folder => [.. Good(folder), "--mem", "16M"]),
        ["--mem above all"] = new("--mem", folder => [.. Good(folder), "--mem", "99999999999999999999G"]),
        ["--cpus 0"] = new("--cpus 0", folder => [.. Good(folder), "--cpus", "0"]),
        ["--cpus -1"] = new("--cpus", folder => [.. Good(folder), "--cpus=-1"]),
        ["--cpus two"] = new("--cpus two: not a number", folder => [.. Good(folder), "--cpus", "two"]),
        ["--transport usb"] = new("there are pci and mmio", folder => [.. Good(folder), "--transport", "usb"]),
        ["--entry bios"] = new("there are auto", folder => [.. Good(folder), "--entry", "bios"]),
        ["completion tcsh"] = new("there are bash, zsh and fish", _ => ["completion", "tcsh"]),
        ["--disk without path"] = new("no path", folder => [.. Good(folder), "--disk", ",readonly"]),
        ["--disk with an unknown option"] =
            new("no such option 'bogus'", folder => [.. Good(folder), "--disk", "x,bogus"]),
        ["a trace in place of the kernel"] =
            new("is in use: something else writes to it", folder => [.. Good(folder), "--trace", folder["kernel"]]),
        ["a profile and a trace in one file"] = new("another output", folder =>
            [.. Good(folder), "--profile=" + folder["x"], "--trace", folder["x"]]),
        ["a profile in no directory"] = new("there is no such directory", folder =>
            ["exits", .. Good(folder), "--output", folder["nothing/x"]]),
        ["a timeline in place of a directory"] = new("is a directory", folder =>
            ["boot-timeline", .. Good(folder), "--json", folder.Path]),
        ["new results without a kernel"] = new("no such file", folder =>
            ["exits", "--kernel", folder["nothing"], "--output", folder["x"], "--trace", folder["y"]]),
        ["results in place of others without a kernel"] = new("no such file", folder =>
            ["exits", "--kernel", folder["nothing"], "--output", folder.Write("x", [1]), "--trace", folder.Write("y", [2])]),
        ["a timeline that is missing"] = new("no such file", folder =>
            ["boot-timeline", "--compare", folder["nothing"], folder["nothing"]]),
        ["a timeline that is none"] = new("is no timeline", folder =>
            ["boot-timeline", "--compare", folder.Write("x", "{}"u8.ToArray()), folder["nothing"]]),
        ["an image in no directory"] = new("no such file or directory", folder =>
            ["disk", "create", folder["nothing/x"], "1M"]),
        ["an image that is there"] = new("is there already", folder => ["disk", "create", folder.Write("x", [1]), "1M"]),
        ["an image on nothing"] = new("--backing nothing: not in ", folder =>
            ["disk", "create", folder["x"], "1M", "--backing", "nothing"]),
    };

    /// <summary>Found only when the machine is put together, so they need a host that can.</summary>
    private static readonly Dictionary<string, Mistake> Machines = new(StringComparer.Ordinal)
    {
        ["--mem 99999G"] = new("--mem 99999G", folder => [.. Good(folder), "--mem", "99999G"]),
        ["--cpus 100000"] = new("--cpus 100000: ", folder => [.. Good(folder), "--cpus", "100000"]),
        ["an ELF for 32 bits"] = new("kernel", folder => Kernel(folder, BadKernels.Elf32())),
        ["a segment outside memory"] = new("outside the memory", folder => Kernel(folder, BadKernels.SegmentOutsideMemory())),
        ["a segment larger than memory"] =
            new("outside the memory", folder => Kernel(folder, BadKernels.SegmentTooLarge())),
        ["init_size larger than memory"] =
            new("give more --mem", folder => Kernel(folder, BadKernels.InitSizeTooLarge())),
        ["an initrd larger than memory"] = new("give more --mem", folder =>
            [.. Good(folder), "--initrd", folder.WriteSparse("initrd", 1L << 30)]),
        ["an initrd that is missing"] = new("no such file", folder => [.. Good(folder), "--initrd", folder["nothing"]]),
        ["an initrd that is empty"] = new("is empty", folder => [.. Good(folder), "--initrd", folder.Write("initrd", [])]),
        ["a command line too long"] =
            new("command line", folder => [.. Good(folder), "--cmdline", new string('x', 4000)]),
        ["a disk that is missing"] = new("No such file", folder => [.. Good(folder), "--disk", folder["nothing"]]),
        ["a disk that is a directory"] = new("Is a directory", folder => [.. Good(folder), "--disk", folder.Path]),
        ["a disk of zero length"] = new("is empty", folder => [.. Good(folder), "--disk", folder.Write("disk", [])]),
        ["a disk of odd length"] =
            new("no multiple of 512", folder => [.. Good(folder), "--disk", folder.WriteSparse("disk", 1000)]),
        ["a disk that is no file"] = new("--disk /dev/null: ", folder => [.. Good(folder), "--disk", "/dev/null"]),
        ["one disk twice"] = new("in use by another machine or disk", folder =>
            [.. Good(folder), "--disk", folder.WriteSparse("disk", 4096), "--disk", folder["disk"]]),
        ["a trace in place of a disk"] = new("in use by another machine or disk", folder =>
            [.. Good(folder), "--disk", folder.WriteSparse("disk", 4096), "--trace", folder["disk"]]),
        ["one disk to write and to read"] = new("writes to it", folder =>
            [.. Good(folder), "--disk", folder.WriteSparse("disk", 4096), "--disk", folder["disk"] + ",readonly"]),
    };

    public static TheoryData<string> KernelNames => [.. Kernels.Keys];

    public static TheoryData<string> OptionNames => [.. Options.Keys];

    public static TheoryData<string> MachineNames => [.. Machines.Keys];

    [Theory]
    [MemberData(nameof(KernelNames))]
    public void A_bad_kernel_is_reported_in_one_line(string mistake) => AssertTold(Kernels[mistake]);

    [Theory]
    [MemberData(nameof(OptionNames))]
    public void A_bad_option_is_reported_in_one_line(string mistake) => AssertTold(Options[mistake]);

    [KvmTheory]
    [MemberData(nameof(MachineNames))]
    public void An_impossible_machine_is_reported_in_one_line(string mistake) => AssertTold(Machines[mistake]);

    /// <summary>Root may read everything, unless it gives that up.</summary>
    [KvmFact]
    public void A_directory_that_may_not_be_read_is_reported_in_one_line_before_the_boot()
    {
        using var folder = new TemporaryFolder();
        string closed = Directory.CreateDirectory(folder["closed"]).FullName;
        File.SetUnixFileMode(closed, UnixFileMode.None);
        foreach ((string option, string[] words) in ((string, string[])[])
        [
            ("--root", ["--root", closed]),
            ("--root", ["--pack", "--root", closed]),
            ("--share", ["--root", "none", "--share", $"{closed}:/x"]),
        ])
        {
            using var vmm = VmmProcess.StartInShell(
                "if [ $(id -u) = 0 ]; then exec setpriv --bounding-set=-dac_override,-dac_read_search \"$@\"; else exec \"$@\"; fi",
                ["run", "--kernel", Product.BzImage, .. words, "--", "true"]);
            vmm.CloseInput();
            VmmProcess.Ended ended = vmm.WaitForEnd();
            Assert.Equal(ExitCodes.Usage, ended.Code);
            OneLine.AssertIs($"{option} {closed}: Permission denied", ended.Error);
        }
    }

    [KvmFact]
    public void A_disk_without_permission_to_write_is_reported_in_one_line()
    {
        using var folder = new TemporaryFolder();
        string disk = folder.WriteSparse("disk", 4096);
        File.SetUnixFileMode(disk, UnixFileMode.UserRead);
        string[] arguments = [.. Good(folder), "--disk", disk];
        string before = folder.Inventory();

        // Root may write to it all the same, so a read-only mount stands in for the missing permission.
        using VmmProcess vmm = VmmProcess.StartAmongMounts(
            $"mount --bind {folder.Path} {folder.Path} && mount -o remount,bind,ro {folder.Path}",
            arguments);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(ExitCodes.Usage, ended.Code);
        OneLine.AssertIs("it cannot be written", ended.Error);
        Assert.Equal(before, folder.Inventory());
    }

    [Theory]
    [InlineData(">&-", "standard output is closed")]
    [InlineData("<&-", "standard input is closed")]
    [InlineData(">&-", "standard output is closed", "--version")]
    [InlineData(">&-", "standard output is closed", "--help")]
    [InlineData(">&-", "standard output is closed", "check")]
    public void A_closed_standard_stream_is_reported_in_one_line(
        string closed, string said, params string[] arguments)
    {
        using var folder = new TemporaryFolder();
        using VmmProcess vmm = VmmProcess.StartInShell(
            $"exec \"$@\" {closed}", arguments.Length == 0 ? Good(folder) : arguments);
        VmmProcess.Ended ended = vmm.WaitForEnd();
        Assert.Equal(ExitCodes.Usage, ended.Code);
        OneLine.AssertIs(said, ended.Error);
    }

    private static void AssertTold(Mistake mistake)
    {
        using var folder = new TemporaryFolder();
        string[] arguments = mistake.Arguments(folder);
        string before = folder.Inventory();
        VmmProcess.Ended ended = VmmProcess.Run(arguments);
        OneLine.AssertIs(mistake.Said, ended.Error);
        Assert.Equal(ExitCodes.Usage, ended.Code);
        Assert.Equal("", ended.Output);
        Assert.Equal(before, folder.Inventory());
    }

    private static string[] Good(TemporaryFolder folder) => Kernel(folder, MadeUp.BzImage());

    private static string[] Kernel(TemporaryFolder folder, byte[] content) =>
        ["--kernel", folder.Write("kernel", content)];

    /// <param name="Said">Part of the line on standard error.</param>
    /// <param name="Arguments">Makes the files in a folder and gives vmm's arguments.</param>
    private sealed record Mistake(string Said, Func<TemporaryFolder, string[]> Arguments);
}
