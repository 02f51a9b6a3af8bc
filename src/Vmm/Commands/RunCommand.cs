using System.CommandLine;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Options;
using Vmm.Statistics;

namespace Vmm.Commands;

/// <summary>The command without a name: boots a machine.</summary>
internal sealed class RunCommand
{
    private readonly Option<string> _kernel = new("--kernel", "-k")
    {
        Description = "The kernel: a bzImage or an uncompressed vmlinux",
        HelpName = "FILE",
    };

    private readonly Option<string[]> _initrd = new("--initrd", "-i")
    {
        Description = "An initramfs for it; may be given several times",
        HelpName = "FILE",
    };

    private readonly Option<string> _commandLine = new("--cmdline", "-c")
    {
        Description = $"Added to the kernel's command line, which is '{CommandLine.Default}'",
        HelpName = "TEXT",
    };

    private readonly Option<bool> _commandLineOnly = new("--cmdline-only")
    {
        Description = "--cmdline replaces the default instead",
    };

    private readonly Option<string> _memory = new("--mem", "-m")
    {
        Description = $"Memory, with K, M or G; {ByteSize.Format(MachineOptions.DefaultMemory)} if not given",
        HelpName = "SIZE",
    };

    private readonly Option<int> _cpus = new("--cpus", "-p")
    {
        Description = "Number of virtual CPUs",
        HelpName = "N",
        DefaultValueFactory = _ => 1,
    };

    private readonly Option<string[]> _disk = new("--disk", "-d")
    {
        Description = "A disk image, /dev/vda and so on in the guest; may be given several times. Options: readonly, "
            + "format=raw|qcow2, ephemeral, overlay=PATH, cache=MODE, iops=N, bw=SIZE and more",
        HelpName = "PATH[,OPTION...]",
    };

    private readonly Option<string[]> _net = new("--net")
    {
        Description = "A network card, eth0 and so on in the guest; may be given several times. Modes: user (through passt), "
            + "tap=NAME, socket=PATH. Options: publish=PORT:GUESTPORT, mac=ADDRESS, mtu=N, queues=N, bw=SIZE and more",
        HelpName = "MODE[,OPTION...]",
    };

    private readonly Option<string> _name = new("--name")
    {
        Description = "What the machine is called; the MAC addresses of its network cards are derived from it",
        HelpName = "NAME",
    };

    private readonly Option<bool> _rng = new("--rng")
    {
        Description = "Add an entropy device, fed by the host's random numbers: /dev/hwrng",
    };

    private readonly Option<Transport> _transport = new("--transport")
    {
        Description = "How disks and other devices are attached: pci or mmio (for the smallest kernels)",
        HelpName = "pci|mmio",
        DefaultValueFactory = _ => Transport.Pci,
    };

    private readonly Option<string> _cpu = new("--cpu")
    {
        Description = "host, or baseline (x86-64-v2), with features added or taken away: host,-avx512f",
        HelpName = "MODEL[,+NAME][,-NAME]",
    };

    private readonly Option<string> _entry = new("--entry")
    {
        Description = "How the kernel is entered: auto, linux64, pvh or multiboot",
        HelpName = "PROTOCOL",
    };

    private readonly Option<bool> _noKaslr = new("--no-kaslr")
    {
        Description = "Leave the kernel at the addresses that it was linked to",
    };

    private readonly Option<bool> _noUnpack = new("--no-unpack")
    {
        Description = "Let a bzImage unpack itself in the guest",
    };

    private readonly Option<bool> _stats = new("--stats")
    {
        Description = "At the end say where time, exits and memory went",
    };

    /// <summary>Puts the options on the root command and gives it its action.</summary>
    public void AddTo(RootCommand root, StartClock clock)
    {
        root.Options.Add(_kernel);
        root.Options.Add(_disk);
        root.Options.Add(_net);
        root.Options.Add(_memory);
        root.Options.Add(_cpus);
        root.Options.Add(_initrd);
        root.Options.Add(_commandLine);
        root.Options.Add(_commandLineOnly);
        root.Options.Add(_rng);
        root.Options.Add(_name);
        root.Options.Add(_transport);
        root.Options.Add(_cpu);
        root.Options.Add(_entry);
        root.Options.Add(_noKaslr);
        root.Options.Add(_noUnpack);
        root.Options.Add(_stats);
        root.SetAction(result => Run(Read(result), clock));
    }

    private MachineOptions Read(ParseResult result) => new()
    {
        Kernel = result.GetValue(_kernel)
            ?? throw new UsageException("no kernel given: vmm --kernel bzImage --disk rootfs.img; 'vmm --help' tells more"),
        Initrds = result.GetValue(_initrd) ?? [],
        CommandLine = result.GetValue(_commandLine),
        CommandLineOnly = result.GetValue(_commandLineOnly),
        Memory = result.GetValue(_memory) is { } memory
            ? MachineOptions.ParseMemory(memory)
            : MachineOptions.DefaultMemory,
        Cpus = MachineOptions.CheckCpus(result.GetValue(_cpus)),
        Disks = [.. (result.GetValue(_disk) ?? []).Select(DiskSpec.Parse)],
        Nets = [.. (result.GetValue(_net) ?? []).Select(NetSpec.Parse)],
        Name = result.GetValue(_name) is { } name ? MachineOptions.CheckName(name) : null,
        Rng = result.GetValue(_rng),
        Transport = result.GetValue(_transport),
        CpuModel = result.GetValue(_cpu) is { } model ? CpuModel.Parse(model) : CpuModel.Host,
        Entry = ParseEntry(result.GetValue(_entry)),
        Kaslr = !result.GetValue(_noKaslr),
        Unpack = !result.GetValue(_noUnpack),
        Stats = result.GetValue(_stats),
    };

    private static EntryProtocol ParseEntry(string? name) => name switch
    {
        null or "auto" => EntryProtocol.Auto,
        "linux64" => EntryProtocol.Linux64,
        "pvh" => EntryProtocol.Pvh,
        "multiboot" => EntryProtocol.Multiboot,
        _ => throw new UsageException($"--entry {name}: no such protocol; there are auto, linux64, pvh and multiboot"),
    };

    private static int Run(MachineOptions options, StartClock clock)
    {
        using Machine machine = Machine.Build(options);
        using var signals = new StopSignals(machine);
        MachineEnd end;
        try
        {
            end = machine.Run();
        }
        finally
        {
            machine.Console.RestoreTerminal();
        }

        if (options.Stats)
        {
            Stderr.Write(RunStatistics.Format(machine, clock));
        }

        if (end.Message is not null)
        {
            Stderr.WriteLine($"vmm: {end.Message}");
        }

        return end.ExitCode;
    }
}
