namespace Vmm.Cli;

internal sealed partial record CommandManual
{
    private const string OneOfSeveral = "Prints the name of each that it has done; where one cannot be, says why, goes on, and ends with 1.";

    /// <summary>Commands for machines that have a name or a control socket; null for another one.</summary>
    private static CommandManual? OfMachines(string path) => path switch
    {
        "vmm ps" => new(
            ["[OPTION...]"],
            [
                "Lists machines that were started with --detach and run; with --all those that have ended, too. A machine whose vmm was killed "
                    + "is dead: 'vmm rm' removes what it left. EXITS/S is how often its processors came out of the guest a second, on "
                    + "average since it started, or with --watch since the last look. One that does not answer within a second is silent.",
            ],
            [
                new("vmm ps -a", "all machines"),
                new("vmm ps -aq | xargs vmm rm -f", "removes all"),
            ]),
        "vmm logs" => new(
            ["[OPTION...] MACHINE"],
            [
                "Prints the machine's console, or the output and errors of its command, each on the stream on which it came. The last 8 to "
                    + "16 MiB are kept.",
            ],
            [new("vmm logs -f --since 5m db", "what was said in the last five minutes, and what comes")]),
        "vmm start" => new(
            ["MACHINE..."],
            [
                "Starts machines that have ended, with the command line that each had, in the directory in which it was given, and with the "
                    + "environment of now. What a guest had in memory is gone; what it wrote to disks is there, as far as they are kept. " + OneOfSeveral,
            ],
            [new("vmm start db", "the same machine again")]),
        "vmm stop" => new(
            ["[--timeout TIME] MACHINE..."],
            [
                "Has each shut down: presses its power button, sends its command SIGTERM, or, where it has none, has vmm's agent end it. One "
                    + "that takes too long is killed. No --restart starts it again. " + OneOfSeveral,
            ],
            [new("vmm stop -t 10s db", "kills it after ten seconds")]),
        "vmm restart" => new(
            ["[--timeout TIME] MACHINE..."],
            ["Does what 'vmm stop' does, and then what 'vmm start' does; starts those that do not run, too. " + OneOfSeveral],
            [new("vmm restart db web", "one after the other")]),
        "vmm kill" => new(
            ["MACHINE..."],
            ["Ends each at once, as if it lost its power; what the guest had not written to its disks is lost. " + OneOfSeveral],
            [new("vmm kill db", "when it does not stop")]),
        "vmm pause" => new(
            ["MACHINE..."],
            ["Halts the processors of each; what they have in memory stays, and the clock of the host goes on. 'vmm stop' wakes it first. " + OneOfSeveral],
            [new("vmm pause db", "until 'vmm resume db'")]),
        "vmm resume" => new(["MACHINE..."], ["Has the processors of each go on. " + OneOfSeveral], [new("vmm resume db", "after 'vmm pause db'")]),
        "vmm rm" => new(
            ["[-f] MACHINE..."],
            [
                "Removes machines that do not run: their logs, and what a vmm that was killed left. Disks stay. With -f those that run are "
                    + "killed first, and names of no machine are no mistake. " + OneOfSeveral,
            ],
            [new("vmm rm -f db", "whatever it is doing")]),
        "vmm wait" => new(
            ["MACHINE..."],
            ["Waits until each has ended, and prints the exit code of its vmm; 137 if that was killed. " + OneOfSeveral],
            [new("vmm wait build", "the code of the command in it")]),
        "vmm rename" => new(
            ["MACHINE NAME"],
            ["Calls a machine something else, whether it runs or not. MAC addresses stay what --name made them."],
            [new("vmm rename db old-db", "makes room for a new db")]),
        "vmm update" => new(
            ["[OPTION...] MACHINE..."],
            [
                "Changes limits of machines while they run, and for their next start. A kind of limit that a machine was started without has no "
                    + "cgroup, and cannot be added while it runs; none takes a limit away. Disks have limits of their own: iops= and bw= of --disk. "
                    + OneOfSeveral,
            ],
            [new("vmm update --cpu-limit 0.5 db", "half a processor from now on")]),
        "vmm port" => new(
            ["MACHINE"],
            ["Lists ports of the guest, and what of this host leads to each, as --net user,publish= asked for."],
            [new("vmm port db", "5432 -> 127.0.0.1:15432")]),
        "vmm exec" => new(
            ["[OPTION...] NAME|PATH -- COMMAND [ARGUMENT...]"],
            [
                "Starts another command in a machine that 'vmm run --control PATH' made, carries its standard streams, and ends with its "
                    + "exit code, as vmm run does: 125: vmm or the machine could not do it, or the machine has ended; 126: the command "
                    + "cannot be executed; 127: there is no such command in the guest; 128 + N: signal N ended it. SIGINT, SIGTERM, SIGHUP, "
                    + "SIGQUIT, SIGUSR2 and SIGXCPU (ulimit -t) go to the command; one that comes three times ends vmm exec alone. When that ends before the "
                    + "command does, the command gets SIGHUP.",
                "The command has the variables, directory and user of the machine's own command, where nothing else is said. It waits "
                    + "until that command runs.",
            ],
            [
                new("vmm exec ./db.sock -- uname -a", "in the machine that listens there"),
                new("vmm exec -it db -- sh", "a shell, on a terminal"),
                new("tar c . | vmm exec db -- tar x -C /srv", "standard streams are real streams"),
            ]),
        "vmm cp" => new(
            ["[--limit SIZE] MACHINE:/PATH PATH", "PATH MACHINE:/PATH"],
            [
                "Copies a file or a tree into a machine of vmm run, or out of it, with modes, times, symbolic and hard links, and, where root "
                    + "does it, owners by number. A directory that is there takes it in under its own name; else the destination is the "
                    + "new name. The guest's own tar does the guest's side: where it has none, nothing can be copied.",
                "Out of a guest nothing lands outside the destination: names and links that lead elsewhere end the copy. Devices, pipes and "
                    + "sockets are left out, and so are set-user-id and set-group-id bits. What vmm left out is said on standard error.",
            ],
            [
                new("vmm cp db:/var/log/syslog .", "a file into this directory"),
                new("vmm cp ./site db:/srv", "a tree, which becomes /srv/site"),
                new("vmm cp ./db.sock:/etc /tmp/etc-of-db", "by the control socket's path"),
            ]),
        "vmm attach" => new(
            ["[--no-stdin] NAME|PATH"],
            [
                "Shows what the guest's console says, beginning with the last 64 KiB, and types there what is typed here, until "
                    + "the machine ends, with its exit code, or until Ctrl-P Ctrl-Q. Any number can be attached at a time; the machine "
                    + "waits for none of them.",
            ],
            [new("vmm attach ./db.sock", "the console of the machine that listens there")]),
        "vmm ctl" => new(
            ["[--events] NAME|PATH COMMAND [JSON]", "--events NAME|PATH"],
            [
                "Asks something of a machine that was started with --control, and prints what it answers: a line of JSON. What it refuses "
                    + "is one line on standard error, with exit code 69; 64 where there is no such command, or its arguments are wrong.",
                "With --events, and with the command events, what happens follows, an object on a line, until the machine ends: its "
                    + "states, what the guest's kernel complains of, and how it ended. docs/control-protocol.md has all commands, their "
                    + "arguments, and what other programs need to know to ask for themselves.",
            ],
            [
                new("vmm ctl ./db.sock status", "state, memory, uptime"),
                new("vmm ctl ./db.sock stop '{\"timeout\":10}' --events", "shuts it down, and waits until it has ended"),
                new("vmm ctl ./db.sock disk-resize '{\"disk\":0,\"bytes\":2147483648}'", "makes its first disk 2 GiB long"),
            ]),
        _ => null,
    };
}
