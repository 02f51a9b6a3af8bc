using System.CommandLine;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;
using Vmm.Backends.Console;
using Vmm.Backends.Disks;
using Vmm.Backends.Networks;
using Vmm.Backends.Shares;
using Vmm.Backends.Sockets;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Insight.Profile;
using Vmm.Kernels;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary>The command without a name: boots a machine.</summary>
internal sealed class BootCommand
{
    private const string SharedSuffix = ",shared";

    private readonly Option<string> _kernel = new("--kernel", "-k")
    {
        Description = "The kernel: a bzImage, a vmlinux (64-bit ELF), a PVH or a multiboot image; or a name: host for the one that runs "
            + $"here, reference, {DistributionKernels.Names}, or one of 'vmm kernel list'",
        HelpName = "FILE|NAME",
    };

    private readonly Option<string[]> _initrd = new("--initrd", "-i")
    {
        Description = "An initramfs for it; may be given several times",
        HelpName = "FILE",
    };

    private readonly Option<string> _commandLine = new("--cmdline", "-c")
    {
        Description = $"Added to the kernel's command line, which is '{CommandLine.Default}', and 'root=/dev/vda rw' with a disk "
            + "and no initramfs",
        HelpName = "TEXT",
    };

    private readonly Option<bool> _commandLineOnly = new("--cmdline-only")
    {
        Description = "--cmdline replaces the default instead",
    };

    private readonly Option<string> _memory = new("--mem", "-m")
    {
        Description = $"Memory: bytes, or a number with K, M or G; {ByteSize.Format(MachineSpec.DefaultMemory)} if not given. "
            + "Option: shared, for memory that is a file (memfd), which is the default where another program serves a device",
        HelpName = "SIZE[,shared]",
    };

    private readonly Option<string> _cpus = new("--cpus", "-p")
    {
        Description = "Number of virtual CPUs; 1 if not given",
        HelpName = "N",
    };

    private readonly Option<string[]> _disk = new("--disk", "-d")
    {
        Description = "A disk image, /dev/vda and so on in the guest; may be given several times. Options: readonly, "
            + "format=raw|qcow2, ephemeral, overlay=PATH, cache=MODE, iops=N, bw=SIZE and more",
        HelpName = "PATH[,OPTION...]",
    };

    /// <summary>The same for vmm run, where -d is --detach.</summary>
    private readonly Option<string[]> _runDisk;

    private readonly Option<string[]> _net = new("--net")
    {
        Description = "A network card, eth0 and so on in the guest; may be given several times. Modes: user (through passt), "
            + "tap=NAME, socket=PATH. Options: publish=PORT:GUESTPORT, mac=ADDRESS, mtu=N, queues=N, bw=SIZE and more",
        HelpName = "MODE[,OPTION...]",
    };

    private readonly Option<string> _vsock = new("--vsock")
    {
        Description = "Sockets between guest and host: the guest's connection to port N of CID 2 goes to the Unix socket PATH_N; "
            + "'CONNECT N' written to PATH leads to port N of the guest. Option: cid=N, the guest's own, 3 if not given",
        HelpName = "PATH[,OPTION...]",
    };

    private readonly Option<string[]> _share = new("--share")
    {
        Description = "A directory of this host for the guest, read-only unless rw; may be given several times. The guest mounts it "
            + "with mount -t virtiofs TAG PATH; the tag is share0 and so on, or what tag= says",
        HelpName = "HOST:GUEST[,rw][,tag=NAME]",
    };

    private readonly Option<string[]> _vhostUserBlock = new("--vhost-user-blk")
    {
        Description = "A disk that another program serves at this Unix socket, by vhost-user (qemu-storage-daemon, SPDK); may be given "
            + "several times; behind those of --disk",
        HelpName = "SOCKET",
    };

    private readonly Option<string[]> _vhostUserNet = new("--vhost-user-net")
    {
        Description = "A network card that another program serves at this Unix socket, by vhost-user (passt, DPDK); may be given several "
            + "times; behind those of --net",
        HelpName = "SOCKET",
    };

    private readonly Option<string> _name = new("--name")
    {
        Description = "The machine's name: 'vmm ps' and the other commands for machines find it by that while it runs; the MAC addresses of its "
            + "network cards are derived from it",
        HelpName = "NAME",
    };

    private readonly Option<string> _control = new("--control")
    {
        Description = "Listen at this Unix socket for what 'vmm ctl' and other programs of the same user ask of the machine while it runs",
        HelpName = "PATH",
    };

    private readonly Option<bool> _rng = new("--rng")
    {
        Description = "Add an entropy device, fed by the host's random numbers: /dev/hwrng",
    };

    private readonly Option<string> _console = new("--console")
    {
        Description = "Where Linux has its console: serial (ttyS0; if not given), or virtio (hvc0), which follows the terminal's size",
        HelpName = "serial|virtio",
    };

    private readonly Option<string[]> _port = new("--port")
    {
        Description = "A stream of bytes between a program of the guest, which opens /dev/virtio-ports/NAME (/dev/vport*p* without udev), "
            + "and one of this host, which connects to the Unix socket PATH; may be given several times",
        HelpName = "NAME=PATH",
    };

    private readonly Option<string?> _balloon = new("--balloon")
    {
        Description = "Give memory that the guest does not use back to the host, by a memory balloon; on if not given for a machine "
            + "with --name, else off",
        HelpName = "on|off",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string> _transport = new("--transport")
    {
        Description = "How disks and other devices are attached: pci (if not given) or mmio (for the smallest kernels)",
        HelpName = "pci|mmio",
    };

    private readonly Option<bool> _packed = new("--packed")
    {
        Description = "Offer packed virtqueues, which Linux prefers to split ones",
    };

    private readonly Option<string> _cpu = new("--cpu")
    {
        Description = "host, or baseline (x86-64-v2), with features added or taken away: host,-avx512f",
        HelpName = "MODEL[,+NAME][,-NAME]",
    };

    private readonly Option<string> _entry = new("--entry")
    {
        Description = "How the kernel is entered; auto if not given",
        HelpName = "auto|linux64|pvh|multiboot",
    };

    private readonly Option<bool> _noKaslr = new("--no-kaslr")
    {
        Description = "Leave the kernel at the addresses that it was linked to",
    };

    private readonly Option<bool> _noUnpack = new("--no-unpack")
    {
        Description = "Let a bzImage unpack itself in the guest",
    };

    private readonly Option<string> _onReboot = new("--on-reboot")
    {
        Description = "When the guest reboots: end (if not given), restart it in a new machine, or fail with exit code 73",
        HelpName = "end|restart|fail",
    };

    private readonly Option<string> _stopTimeout = MachineOptions.StopTimeout();

    private readonly Option<bool> _stats = MachineOptions.Stats();

    private readonly Option<string?> _profile = new("--profile")
    {
        Description = "Count and time every exit; at the end a table on standard error, or into FILE (.json, .folded or text)",
        HelpName = "FILE",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<string?> _trace = new("--trace")
    {
        Description = "Write every exit and every event of the devices' thread as trace events for Perfetto or chrome://tracing",
        HelpName = "FILE",
    };

    private readonly BackgroundOptions _background = new(hasShort: false);

    public BootCommand() => _runDisk = new(_disk.Name) { Description = _disk.Description, HelpName = _disk.HelpName };

    /// <summary>The options that describe a machine.</summary>
    private IEnumerable<Option> Shared =>
    [
        _kernel, _disk, _net, _vsock, _share, _vhostUserBlock, _vhostUserNet, _memory, _cpus, _initrd, _commandLine, _commandLineOnly, _rng, _balloon, _console, _port, _name, _control, _transport, _packed,
        _cpu, _entry, _noKaslr, _noUnpack, _onReboot, _stopTimeout, _stats, _trace,
    ];

    /// <summary>Puts the options on the root command and gives it its action.</summary>
    public void AddTo(Command root, StartClock clock)
    {
        AddOptionsTo(root);
        root.Options.Add(_profile);
        foreach (Option option in _background.All)
        {
            root.Options.Add(option);
        }

        root.SetAction(result =>
        {
            MachineSpec options = Read(result);
            return _background.Run(result, options, hasAgent: false, life =>
            {
                options = life?.For(options) ?? options;
                (bool isAsked, string? file) = life?.ForkName is null ? ProfileOf(result) : default;
                using var figures = new MachineFigures(clock, OpenProfile(isAsked, file), life?.ForkName is null ? TraceOf(result) : null);
                return figures.Observer is null
                    ? MachineRunner.Run(options, clock, life?.Life, life?.Fork)
                    : MachineRunner.RunObserved(options, clock, figures, life?.Life);
            });
        });
    }

    /// <summary>Gives another command the options that describe a machine.</summary>
    public void AddOptionsTo(Command command)
    {
        foreach (Option option in Shared)
        {
            command.Options.Add(option);
        }
    }

    /// <summary>Gives <c>vmm run</c> the options that it shares with a plain machine.</summary>
    public void AddRunOptionsTo(Command command)
    {
        foreach (Option option in Shared.Append(_profile).Where(option => option != _initrd && option != _commandLineOnly
            && option != _console && option != _entry && option != _onReboot && option != _stopTimeout))
        {
            command.Options.Add(option == _disk ? _runDisk : option);
        }
    }

    /// <summary>The file that --trace names; null for none.</summary>
    public string? TraceOf(ParseResult result) => result.GetValue(_trace);

    /// <summary>Whether --profile is there, and the file that it names; null for none.</summary>
    public (bool IsAsked, string? File) ProfileOf(ParseResult result) => (result.GetResult(_profile) is not null, result.GetValue(_profile));

    /// <returns>Null where it is not asked for.</returns>
    /// <exception cref="UsageException">The file cannot be written.</exception>
    public static ProfileOutput? OpenProfile(bool isAsked, string? file) =>
        isAsked ? ProfileOutput.Open(file, null, "--profile") : null;

    /// <exception cref="UsageException">An option is missing or wrong; names the command's help.</exception>
    public MachineSpec Read(ParseResult result)
    {
        MachineSpec options = ReadUnresolved(result);
        return options.Kernel.Length > 0
            // The kernel store is only opened for a kernel's name.
            ? KernelNames.IsFile(options.Kernel) ? options : options with { Kernel = KernelNames.Resolve(options.Kernel, KernelStore.Default) }
            : CommandLineCheck.Read<MachineSpec>(result.CommandResult.Command, () => throw new UsageException(
                $"no kernel given: {CommandTree.PathOf(result.CommandResult.Command)} --kernel bzImage --disk rootfs.img"));
    }

    /// <summary>The same, with the kernel's name or file as given; empty where none was.</summary>
    public MachineSpec ReadUnresolved(ParseResult result) =>
        CommandLineCheck.Read(result.CommandResult.Command, () => Values(result));

    private static string CheckSocket(string option, string path) =>
        path.Length > 0 && FileNames.ToBytes(path).Length <= UnixSocket.MostPathBytes
            ? path
            : throw new UsageException($"{option} {path}: takes the path of a socket, 1 to {UnixSocket.MostPathBytes} bytes");

    private static string WithoutShared(string memory) =>
        memory.EndsWith(SharedSuffix, StringComparison.Ordinal) ? memory[..^SharedSuffix.Length] : memory;

    private MachineSpec Values(ParseResult result) => new()
    {
        Kernel = result.GetValue(_kernel) ?? "",
        Initrds = All(result, _initrd),
        CommandLine = result.GetValue(_commandLine),
        CommandLineOnly = result.GetValue(_commandLineOnly),
        Memory = result.GetValue(_memory) is { } memory
            ? MachineSpec.ParseMemory(WithoutShared(memory))
            : MachineSpec.DefaultMemory,
        WantsSharedMemory = result.GetValue(_memory)?.EndsWith(SharedSuffix, StringComparison.Ordinal) ?? false,
        Cpus = result.GetValue(_cpus) is { } cpus ? MachineSpec.ParseCpus(cpus) : 1,
        Disks = Array.ConvertAll([.. All(result, _disk), .. All(result, _runDisk)], DiskSpec.Parse),
        Nets = Array.ConvertAll(All(result, _net), NetSpec.Parse),
        Vsock = result.GetValue(_vsock) is { } vsock ? VsockSpec.Parse(vsock) : null,
        Shares = ShareSpec.WithTags(Array.ConvertAll(All(result, _share), ShareSpec.Parse)),
        ServedDisks = Array.ConvertAll(All(result, _vhostUserBlock), path => CheckSocket("--vhost-user-blk", path)),
        ServedNets = Array.ConvertAll(All(result, _vhostUserNet), path => CheckSocket("--vhost-user-net", path)),
        Name = result.GetValue(_name) is { } name ? MachineSpec.CheckName(name) : null,
        Control = result.GetValue(_control) is { } control ? CheckSocket("--control", control) : null,
        Rng = result.GetValue(_rng),
        Balloon = HasBalloon(result),
        Ports = PortSpec.Check(Array.ConvertAll(All(result, _port), PortSpec.Parse)),
        Console = ParseConsole(result.GetValue(_console)),
        Transport = ParseTransport(result.GetValue(_transport)),
        Packed = result.GetValue(_packed),
        CpuModel = result.GetValue(_cpu) is { } model ? CpuModel.Parse(model) : CpuModel.Host,
        Entry = ParseEntry(result.GetValue(_entry)),
        Kaslr = !result.GetValue(_noKaslr),
        Unpack = !result.GetValue(_noUnpack),
        OnReboot = ParseOnReboot(result.GetValue(_onReboot)),
        StopTimeout = MachineOptions.Read(result, _stopTimeout),
        Stats = result.GetValue(_stats),
    };

    /// <summary>The values of an option. (The library would make an empty array by reflection, which takes a
    /// millisecond.)</summary>
    public static string[] All(ParseResult result, Option<string[]> option) =>
        result.GetResult(option) is null ? [] : result.GetValue(option) ?? [];

    private bool HasBalloon(ParseResult result) => result.GetResult(_balloon) is null
        ? result.GetResult(_name) is not null
        : MachineSpec.ParseSwitch(result.GetValue(_balloon) ?? "on", "--balloon");

    private static ConsoleKind ParseConsole(string? name) => name switch
    {
        null or "serial" => ConsoleKind.Serial,
        "virtio" => ConsoleKind.Virtio,
        _ => throw new UsageException($"--console {name}: no such console; there are serial and virtio"),
    };

    private static Transport ParseTransport(string? name) => name switch
    {
        null or "pci" => Transport.Pci,
        "mmio" => Transport.Mmio,
        _ => throw new UsageException($"--transport {name}: no such transport; there are pci and mmio"),
    };

    private static EntryProtocol ParseEntry(string? name) => name switch
    {
        null or "auto" => EntryProtocol.Auto,
        "linux64" => EntryProtocol.Linux64,
        "pvh" => EntryProtocol.Pvh,
        "multiboot" => EntryProtocol.Multiboot,
        _ => throw new UsageException($"--entry {name}: no such protocol; there are auto, linux64, pvh and multiboot"),
    };

    private static RebootAction ParseOnReboot(string? name) => name switch
    {
        null or "end" => RebootAction.End,
        "restart" => RebootAction.Restart,
        "fail" => RebootAction.Fail,
        _ => throw new UsageException($"--on-reboot {name}: no such action; there are end, restart and fail"),
    };
}
