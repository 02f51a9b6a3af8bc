using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.Json;
using Vmm.Control;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Named;
using Vmm.Named.Limits;
using Vmm.Run.Many;
using Vmm.Snapshots.Forks;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm fork MACHINE</c>: further machines that go on from where a running one is, and share its memory until they write to
/// it.</summary>
internal sealed class ForkCommand
{
    // The machine stands still for a moment of that; the rest is for a host that is busy.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private readonly Argument<string> _machine = new("MACHINE")
    {
        Description = "Its name, or the path of its control socket (--control)",
    };

    private readonly Option<string> _count = new("--count", "-n")
    {
        Description = "So many forks at once, named NAME-1 and so on, where those names are free; 1 if not given",
        HelpName = "N",
    };

    private readonly Option<string> _name = new("--name")
    {
        Description = "What the fork is called; with -n what stands in front of the number, instead of the machine's own name",
        HelpName = "NAME",
    };

    private readonly Option<bool> _asked = new("--asked-by-guest") { Description = "Given by vmm where the guest asked", Hidden = true };

    public static Command Create()
    {
        var fork = new ForkCommand();
        var command = new Command("fork", "Make further machines that go on from where a running one is");
        command.Arguments.Add(fork._machine);
        command.Options.Add(fork._count);
        command.Options.Add(fork._name);
        command.Options.Add(fork._asked);
        command.SetAction(result => fork.Run(command, result));
        return command;
    }

    private int Run(Command command, ParseResult result)
    {
        int count = CommandLineCheck.Read(command, () => ReadCount(result));
        string? prefix = CommandLineCheck.Read(command, () => result.GetValue(_name) is { } given ? MachineName.Check(given, _name.Name) : null);
        string machine = result.GetRequiredValue(_machine);
        using var client = new ControlClient(ControlAddress.Resolve(machine), machine);
        ControlForkPlan plan = client.Ask("fork-plan", null, ControlJson.Default.ControlForkPlan);
        if (plan.CommandLine is [not ("run" or ['-', ..]), ..] or [])
        {
            throw new UsageException($"{machine}: only machines of 'vmm run' and of vmm without a command can be forked");
        }

        CheckMemory(plan, count);
        MachineStore store = MachineStore.Default;
        string? exact = prefix is not null && result.GetResult(_count) is null ? prefix : null;
        if (exact is not null && store.Has(exact))
        {
            throw MachineStore.Taken(exact);
        }

        using ForkFiles files = ForkFiles.Create(plan.Overlays);
        JsonElement asked = JsonSerializer.SerializeToElement(new ForkArguments(files.Paths, result.GetValue(_asked)), ControlJson.Default.ForkArguments);
        ControlForked forked = client.Ask("fork", asked, ControlJson.Default.ControlForked, Patience);
        files.Seal();
        if (Stderr.IsTerminal)
        {
            Stderr.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"vmm: {machine} stood still for {forked.Pause * 1000:0.0} ms; its forks share {ByteSize.Format(forked.Memory)} of its memory"));
        }

        var forks = new MachineForks(store, plan, LimitsOf(store, plan, client.Greeting.Pid), files.Descriptors, result.GetValue(_asked));
        return forks.Start(count, exact, prefix ?? (plan.Name is { } name && MachineName.IsValid(name) ? name : "fork"));
    }

    private int ReadCount(ParseResult result)
    {
        if (result.GetValue(_count) is not { } text)
        {
            return 1;
        }

        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count > 0
            ? count
            : throw new UsageException($"-n {PrintableText.Of(text)}: takes the number of forks, 1 or more");
    }

    /// <summary>Linux would grant any number of them, and kill some process later.</summary>
    private static void CheckMemory(ControlForkPlan plan, int count)
    {
        const ulong Each = 4 << 20;
        ulong available = HostMemory.Available();
        if ((ulong)count * Each > available)
        {
            throw new UsageException($"-n {count}: a fork of {ByteSize.Format(plan.Memory)} takes {ByteSize.Format(Each)} or more, as it writes to its "
                + $"memory, and this host has {available >> 20}M available: give {available / Each} at most");
        }
    }

    /// <summary>Those of a machine with a name; it may have been asked by its socket.</summary>
    private static MachineLimits LimitsOf(MachineStore store, ControlForkPlan plan, int pid) =>
        plan.Name is { } name && MachineName.IsValid(name) && store.Has(name) && MachineStore.ReadOrExplain(store.Folder(name)) is var record
        && record.Pid == pid
            ? record.Limits
            : MachineLimits.None;
}
