using Vmm.Cli.Commands;
using Vmm.Named;

namespace Vmm.Cli;

/// <summary>Where a command runs that was asked for with <c>--emulated</c>.</summary>
internal enum EmulatedPlace
{
    /// <summary>It was not asked for.</summary>
    NotAsked,

    /// <summary>On this machine: it needs no KVM.</summary>
    Here,

    /// <summary>In the warm host, where machines with a name run; on this machine if there is none, as then none of them runs.</summary>
    WithMachines,

    /// <summary>In an emulated host: the warm one, or one of its own that ends with it.</summary>
    Host,

    /// <summary>In the warm host, which is started if there is none: it leaves machines in the background.</summary>
    WarmHost,
}

/// <summary>Finds the place by the words of a command line, before any of them is parsed.</summary>
internal static class EmulatedPlaces
{
    private static readonly string[] WithoutKvm =
        ["disk", "kernel", "cache", "junit", "completion", "host", "help", "version", "complete", "manual"];

    // inspect is for files and kernels, too.
    private static readonly string[] AboutMachines = ["exec", "attach", "cp", "ctl", "snapshot", "rewind", "fork", Inspect, .. MachineCommands.Names];

    private static readonly string[] StartingMachines = ["start", "restart"];

    private static readonly string[] Questions = ["--help", "-h", "-?", "--version", "-V"];

    private const string Inspect = "inspect", Run = "run";

    /// <param name="args">Without the program's name.</param>
    /// <param name="variable">The value of <see cref="EmulatedHost.Variable"/>.</param>
    /// <param name="inside">This is the emulated host already.</param>
    /// <param name="isMachine">Whether a machine has that name.</param>
    public static EmulatedPlace Of(ReadOnlySpan<string> args, string? variable, bool inside, Func<string, bool> isMachine)
    {
        int end = args.IndexOf("--");
        ReadOnlySpan<string> options = end < 0 ? args : args[..end];
        if (inside || !(options.Contains(EmulatedHost.Option) || variable is not (null or "" or "0")))
        {
            return EmulatedPlace.NotAsked;
        }

        string command = args.Length == 0 ? "" : args[0] == EmulatedHost.Option && args.Length > 1 ? args[1] : args[0];
        if (options.ContainsAny(Questions) || command.StartsWith('[') || WithoutKvm.Contains(command)
            || (command == Inspect && !IsAboutMachine(options, isMachine)))
        {
            return EmulatedPlace.Here;
        }

        bool stays = StartingMachines.Contains(command)
            || options.Contains(BackgroundOptions.Detach) || (command == Run && options.Contains(BackgroundOptions.ShortDetach));
        return stays ? EmulatedPlace.WarmHost
            : AboutMachines.Contains(command) ? EmulatedPlace.WithMachines
            : EmulatedPlace.Host;
    }

    private static bool IsAboutMachine(ReadOnlySpan<string> words, Func<string, bool> isMachine)
    {
        foreach (string word in words)
        {
            if (word != Inspect && MachineName.IsValid(word) && isMachine(word))
            {
                return true;
            }
        }

        return false;
    }
}
