using System.CommandLine;
using Vmm.Text;

namespace Vmm.Cli;

/// <summary>The documentation of a command besides its options.</summary>
/// <param name="Synopsis">What follows the command's name, a line each.</param>
/// <param name="Paragraphs">What it does.</param>
/// <param name="Examples">Command lines, and what each does.</param>
internal sealed partial record CommandManual(string[] Synopsis, string[] Paragraphs, ManualRow[] Examples)
{
    /// <summary>Keys at the console.</summary>
    public static IReadOnlyList<ManualRow> Keys =>
    [
        new("Ctrl-A x", "end vmm, and the guest with it"),
        new("Ctrl-A b", "send a break (Linux: the next key is a SysRq command)"),
        new("Ctrl-A a", "send Ctrl-A itself"),
        new("Ctrl-A h", "help"),
    ];

    public static IReadOnlyList<ManualRow> Environment =>
    [
        new("NO_COLOR", "if it is set to anything, reports are without colour (no-color.org)"),
        new("COLUMNS", "how wide reports are where they do not go to a terminal; 100 if not set"),
        new("VMM_EMULATED", "if it is neither empty nor 0, the same as --emulated"),
        new("VMM_COLD", "if it is neither empty nor 0, vmm run boots each machine, as with --cold"),
        new("VMM_RUN_PROGRAM", "with many runs: a program to start instead of vmm for each of them; for tests"),
        new("XDG_STATE_HOME", "machines with a name are kept in vmm/machines below it; ~/.local/state if not set"),
        new("XDG_RUNTIME_DIR", "their sockets are in vmm below it; /run/user/UID if not set, else /tmp/vmm-UID"),
        new("VMM_STATE_DIR, VMM_RUNTIME_DIR", "take the places of these two directories named vmm; vmm --emulated has its own"),
        new("TMPDIR", "where the writes of an ephemeral disk go; else /var/tmp or /tmp"),
        new("PATH", "where passt is looked for (--net user)"),
    ];

    public static IReadOnlyList<ManualRow> Files =>
    [
        new("/dev/kvm", "must be readable and writable; 'vmm check' says what to do if it is not"),
        new("/dev/net/tun", "for --net tap=NAME"),
    ];

    public static CommandManual Of(Command command) => CommandTree.PathOf(command) switch
    {
        "vmm" => new(
            ["--kernel FILE [OPTION...]", "COMMAND [OPTION...]"],
            [
                "Boots a Linux kernel in a virtual machine of its own, by KVM, and ends with it. The guest's console is this "
                    + "terminal, or the pipes that vmm is given. Nothing is left behind but what the guest wrote to its disks.",
                "SIGTERM presses the guest's power button; one that comes more than a second later, or that no guest listens to, "
                    + "ends vmm at once, as SIGINT, SIGHUP and SIGQUIT do. Signals that were ignored when vmm was started stay ignored.",
            ],
            [
                new("vmm --kernel bzImage --disk rootfs.img --mem 1G", "boots a kernel with a disk, to its console"),
                new("vmm --kernel vmlinux --disk rootfs.img,ephemeral", "the same, but writes to the disk are discarded"),
                new("vmm -k bzImage -i initrd.img -c 'quiet' --stats", "boots an initramfs; prints figures about time at the end"),
                new("vmm -k bzImage -d disk.img --net user,publish=127.0.0.1:8080:80", "a network, and a port of the host that leads to the guest"),
            ]),
        "vmm run" => new(
            [
                "[OPTION...] -- COMMAND [ARGUMENT...]",
                "[OPTION...] TARGET... [-- ARGUMENT...]",
                "--each PATTERN|@FILE [OPTION...] -- COMMAND [ARGUMENT...]",
            ],
            [
                "Boots a machine for one command, carries its standard streams, and ends with it. The exit code is the command's own; "
                    + "124: it took longer than --timeout; 125: vmm, or the machine, could not do it; 126: the command cannot be "
                    + "executed; 127: there is no such command in the guest; 128 + N: the command was ended by signal N; 71: the "
                    + "guest's kernel panicked (255 with --virtme-codes); 70: the guest crashed; 74: its kernel complained of what --fail-on "
                    + "names; 1 with --ktap: a test failed.",
                "SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR2 and SIGXCPU (ulimit -t) go to the command; one that comes three times ends the machine, and so "
                    + "does one that comes before the command runs.",
                "The command sees this host's files, and changes none: / is shared read-only, by virtiofsd, under an overlay in the guest's "
                    + "memory, with fresh /tmp, /run, /dev, /proc and /sys. It starts in this working directory; --rw lets it write there. "
                    + "A directory is packed into an image where virtiofsd is missing and --root names it, or with --pack; the image has no name "
                    + "and disappears when vmm ends. TMPDIR says where it is, /var/tmp if not set.",
                "vmm.json in this directory may hold options for every run (defaults) and sets of options with a name and a command (targets): "
                    + "vmm run TARGET, vmm run --all. The command line overrides a target, and a target the defaults; variables "
                    + "of --env are collected. Words behind -- are added to a target's command. docs/many.md shows one, and how many runs, one "
                    + "for each file or on several machines, are done.",
                "The first run with a kernel boots; the machine is saved where its command could start, and the next run with the same kernel, "
                    + "initramfs, command line and machine goes on from there, with a fresh clock and fresh random numbers. --cold boots. A run "
                    + "with a disk that keeps what is written, -v, --profile or --trace always boots. Such runs have the kernel at the same addresses: "
                    + "--cache-entries says for how many. docs/snapshots.md tells what they share; 'vmm cache' what is kept.",
                "With -d the machine stays in the background, under its --name or one of two words; without a command it stays until 'vmm stop' ends "
                    + "it. Its command has no input, and what it says is in 'vmm logs'. docs/machines.md tells all of it.",
                "The guest needs no software: vmm's agent is its process 1. docs/agent-protocol.md describes its protocol.",
            ],
            [
                new("vmm run -- uname -a", "this host's programs, under its own kernel or the newest that is stored"),
                new("vmm run --kernel debian -m 512M -p 2 -- make check", "under Debian's kernel, which is fetched the first time"),
                new("vmm run --kernel bzImage --root none -- uname -a", "busybox alone: the fastest"),
                new("vmm run --kernel bzImage --rw -- make check", "writes to this directory are kept, all others are discarded"),
                new("vmm run --kernel bzImage --root rootfs.img --timeout 60s -- make check", "in a disk image, whose changes are discarded"),
                new("tar c . | vmm run -k bzImage -- tar t | sort", "standard streams are passed through"),
                new("vmm run -k bzImage -it -- sh", "on a terminal"),
                new("vmm run --each 'tests/*.sh' --parallel 4 --junit report.xml -- sh {}", "a machine for each test, four at a time"),
                new("vmm run -d --name db -k bzImage", "a machine that stays, with nothing in it but vmm's agent"),
                new("vmm run --all", "all targets of vmm.json"),
            ]),
        "vmm exits" => new(
            ["--kernel FILE [OPTION...]", "run [OPTION...] -- COMMAND [ARGUMENT...]"],
            [
                "Boots a machine as vmm without a command does. At its end it lists which accesses made the processor leave the "
                    + "guest, how often, and how long each took in vmm and in KVM: minimum, median, 99 %, 99.9 % and maximum.",
            ],
            [
                new("vmm exits -k bzImage -d disk.img,ephemeral", "a table, on standard error"),
                new("vmm exits -k bzImage -d disk.img,ephemeral -o exits.folded", "stacks for flamegraph.pl"),
                new("vmm exits run -k bzImage -- make check", "of the machine that vmm run makes for a command"),
            ]),
        "vmm exits run" => new(
            ["[OPTION...] -- COMMAND [ARGUMENT...]"],
            [
                "Does what vmm run does, with its options and exit codes, and at the end prints what vmm exits prints: "
                    + "see 'vmm help run' and 'vmm help exits'. vmm run --profile FILE does the same.",
            ],
            [new("vmm exits run -k bzImage --root none -- true", "a table, on standard error")]),
        "vmm boot-timeline" => new(
            ["--kernel FILE [OPTION...]", "run [OPTION...] -- COMMAND [ARGUMENT...]", "--compare A.json B.json"],
            [
                "Boots a machine as vmm without a command does, with all messages of its kernel. At its end it shows "
                    + "a timeline: vmm's own steps, the first exit, steps from the kernel's log, and long silences.",
            ],
            [
                new("vmm boot-timeline -k bzImage -d disk.img --until init --html boot.html", "a page for a browser"),
                new("vmm boot-timeline --compare a.json b.json", "compares two timelines"),
            ]),
        "vmm boot-timeline run" => new(
            ["[OPTION...] -- COMMAND [ARGUMENT...]"],
            [
                "Does what vmm run does, with its options and exit codes, and at the end shows a timeline: vmm's own steps, steps from "
                    + "the kernel's log, when vmm's agent connected, and when the command began and ended.",
            ],
            [new("vmm boot-timeline run -k bzImage --html run.html -- true", "the time until a command starts, by step")]),
        "vmm snapshot" => new(
            ["[--stop] [--live] [--diff BASE] NAME|PATH DIR", "merge BASE DIFF DIR"],
            [
                "Saves a machine that was started with --control: memory, devices, processors, and by what its disks are known again. The guest "
                    + "stands still while its memory is copied, and goes on while that becomes durable. DIR is there whole or not at all.",
                "Disks are not copied, so a machine that goes on and writes to them makes them unfit for the snapshot: use --stop, disks that are "
                    + "readonly or ephemeral, or copies. Machines with shares cannot be saved. docs/snapshots.md tells more.",
            ],
            [
                new("vmm snapshot --stop ./db.sock warm", "the machine ends, and 'vmm restore warm' lets it go on"),
                new("vmm snapshot ./db.sock warm", "the machine goes on, too"),
                new("vmm snapshot --live ./db.sock warm", "and stands still for some milliseconds only (Linux 6.7)"),
                new("vmm snapshot --diff warm ./db.sock later", "only the memory that differs from warm"),
                new("vmm snapshot merge warm later both", "a whole one of the two, for 'vmm restore both'"),
            ]),
        "vmm snapshot merge" => new(
            ["BASE DIFF DIR"],
            [
                "Writes what BASE was with what DIFF changes into DIR, which is there whole or not at all; BASE and DIFF stay as they are. All that is "
                    + "read is checked, and another base than the one that DIFF was made against is refused. Of a chain of diffs, merge the first "
                    + "with its base, the next with what comes of that, and so on.",
            ],
            [new("vmm snapshot merge warm later both", "'vmm restore both' goes on where later was saved")]),
        "vmm fork" => new(
            ["[-n N] [--name NAME] NAME|PATH"],
            [
                "Makes machines that go on from where a running one is, each with a name and a process of its own, and prints their names once "
                    + "they are up. They share its memory until one of them writes to it; it stands still while that is copied once.",
                "All that runs in it goes on in all of them. In a fork of vmm run it does so once that has fresh random numbers, the time of "
                    + "day, and its own name as host name. Its disks have to be ephemeral or readonly, its networks --net user.",
                "docs/snapshots.md tells what is shared and what is not.",
            ],
            [
                new("vmm fork db -n 8", "db-1 to db-8"),
                new("vmm fork db --name other", "one, called so"),
            ]),
        "vmm rewind" => new(
            ["NAME|PATH"],
            [
                "Takes the machine back to where its last 'vmm snapshot' was made, or to where it was restored or forked, in place: only pages that "
                    + "were written to since are put back, and its devices' state. So a test can begin from one state again and again, in milliseconds.",
                "The first time after a 'vmm snapshot' without --live all memory is compared. Ephemeral disks go back, too; a machine "
                    + "that wrote to another disk since is refused, and goes on. The snapshot has to be whole, no diff. docs/snapshots.md tells more.",
                "What runs in a machine of 'vmm run' goes on from then, and 'vmm exec' that were started since end with 125. Shared directories, the "
                    + "host's files as root among them, cannot go back: use --root FILE or --root none.",
            ],
            [
                new("vmm snapshot fuzz warm; for t in a b c; do vmm exec fuzz -- \"./$t\"; vmm rewind fuzz; done", "each test begins from the same state"),
                new("vmm snapshot --live ./vm.sock start; while run_test; do vmm rewind ./vm.sock; done", "a machine with its own control socket"),
            ]),
        "vmm restore" => new(
            ["[OPTION...] DIR"],
            [
                "Makes the machine that was saved in DIR once more and lets it go on: same memory, same devices, nothing booted. Memory is "
                    + "mapped from the snapshot, which is only read, so that any number may be restored from one at once.",
                "Disks, sockets and networks are those of the snapshot unless others are given. A disk that was written to since is refused: "
                    + "the guest would not know. Options of a kind replace all of that kind.",
                "docs/snapshots.md tells what is safe to restore twice, and what is not: two machines from one snapshot share their secrets.",
            ],
            [
                new("vmm restore warm", "goes on where the machine was saved"),
                new("vmm restore warm --disk copy.qcow2 --vsock /tmp/v2.sock", "with another disk and socket, beside the first"),
                new("vmm restore warm --lazy uffd", "memory is read and checked while the guest runs"),
                new("vmm restore warm --name two --detach", "in the background; 'vmm ps' lists it, 'vmm stop two' ends it"),
            ]),
        "vmm cache" => new(
            ["list|prune"],
            [
                "vmm run keeps machines that have booted in $XDG_CACHE_HOME/vmm/boots (~/.cache if that is not set), 2G of them at most, and goes "
                    + "on from them until the host is started anew.",
            ],
            [new("vmm cache prune", "deletes all")]),
        "vmm cache list" => new([""], ["A line for each: name, room on the disk, memory of the machine, when it was used last, kernel."], []),
        "vmm cache prune" => new(["[SIZE]"], ["Deletes what was not used for longest, and tells what."], [new("vmm cache prune 500M", "keeps 500M")]),
        "vmm check" => new(
            [""],
            ["Checks this host, and says what to do about each problem. Exit code 69 means that vmm cannot run."],
            [new("vmm check", "tells whether this host can run vmm")]),
        "vmm inspect" => new(
            ["[--json] FILE", "MACHINE"],
            [
                "Describes a kernel image: its format, version, entry points, and what its configuration lacks for vmm.",
                "Of a machine that stays in the background: all that is kept of it, and how it is now, as JSON. A file comes first, then a "
                    + "machine of that name, then a kernel.",
            ],
            [
                new("vmm inspect /boot/vmlinuz-$(uname -r)", "tells whether vmm can boot this host's own kernel"),
                new("vmm inspect db | jq .now.state", "how a machine is"),
            ]),
        "vmm disk" => new(
            ["create [OPTION...] PATH [SIZE]"],
            ["Makes disk images; 'vmm disk create' is the one command."],
            [new("vmm disk create disk.qcow2 10G", "an empty disk")]),
        "vmm disk create" => new(
            ["[OPTION...] PATH [SIZE]"],
            [
                "Makes an empty image, which takes space only as it is written. With --backing it has a backing file: it "
                    + "starts with that file's content, and is as large unless SIZE is given.",
            ],
            [
                new("vmm disk create disk.img 10G", "an empty raw disk"),
                new("vmm disk create --backing base.qcow2 child.qcow2", "one that holds only what differs from base.qcow2"),
            ]),
        "vmm kernel" => new(
            ["list|add|remove|path"],
            [
                "Stores kernels that --kernel takes by name, each with the modules that guests of vmm run need, in "
                    + "$XDG_CACHE_HOME/vmm/kernels (~/.cache if that is not set). The default of vmm run is this host's own kernel where "
                    + "/boot has it, else the newest that is stored.",
            ],
            [
                new("vmm kernel add debian", "fetches Debian's newest cloud kernel; no root, nothing is installed"),
                new("vmm run --kernel debian-rt -- uname -a", "fetches a kernel that is not stored yet"),
            ]),
        "vmm kernel list" => new(
            [""],
            ["A line for each: release, name, size, when it came, and where from."],
            []),
        "vmm kernel add" => new(
            ["[OPTION...] KERNEL"],
            [
                "Stores a file, this host's kernel (host), or one of a distribution, which is fetched as a package by apt or dnf "
                    + "and unpacked, not installed. Prints the release.",
                "The modules that a guest of vmm run may need are stored too: virtio, vsock and file systems, and their dependencies. "
                    + "Dependencies are read from the modules themselves, so the tree in which a kernel was built is enough.",
            ],
            [
                new("vmm kernel add debian@6.1.0-56", "a certain version, as long as the mirror has it"),
                new("vmm kernel add arch/x86/boot/bzImage --modules . --name mine", "the kernel compiled this morning, with its modules"),
            ]),
        "vmm kernel remove" => new(["NAME"], ["Deletes a stored kernel."], []),
        "vmm kernel path" => new(
            ["NAME"],
            ["Prints the path of a kernel's file. A kernel that is not stored yet is fetched."],
            [new("qemu-system-x86_64 -kernel $(vmm kernel path debian)", "for another program")]),
        "vmm junit" => new(
            ["merge OUT IN..."],
            ["Works on JUnit reports, which vmm run --junit writes; 'vmm junit merge' is the one command."],
            [new("vmm junit merge all.xml shard-*.xml", "one report of several shards")]),
        "vmm junit merge" => new(
            ["OUT IN..."],
            [
                "Merges reports, also those of other programs: each test suite once, with totals. Prints the number of tests.",
                "A report that 'vmm run --shard I/N' wrote tells which shard it is: where one of the N is missing, because its machine died for "
                    + "instance, that is said, and the exit code is 1; what there is is merged all the same. Suites that come again as they "
                    + "were, from a file that is given twice, are left out.",
            ],
            [new("vmm junit merge all.xml shard-*.xml", "one report of several shards")]),
        "vmm completion" => new(
            ["bash|zsh|fish"],
            ["Prints a script that makes a shell complete vmm's commands, options and values. Packages install it."],
            [new("eval \"$(vmm completion bash)\"", "in ~/.bashrc")]),
        "vmm host" => new(
            ["start|status|stop"],
            [
                "Keeps an emulated host with KVM running, so that commands with --emulated start at once. It ends by itself after "
                    + "ten idle minutes.",
            ],
            [new("vmm host start && vmm --emulated -k bzImage", "boots where there is no /dev/kvm")]),
        "vmm host start" => new([""], ["Starts an emulated host, unless there is one."], []),
        "vmm host status" => new([""], ["Says whether an emulated host runs; exit code 1 if not."], []),
        "vmm host stop" => new([""], ["Ends the emulated host, and everything in it."], []),
        "vmm help" => new(
            ["[COMMAND...]"],
            ["Prints everything about vmm or one of its commands: the parts of values, exit codes, examples."],
            [new("vmm help disk create", "everything about making disks")]),
        var path => OfMachines(path) ?? new([""], [], []),
    };
}
