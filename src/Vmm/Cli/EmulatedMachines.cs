using System.Globalization;
using Vmm.Host;
using Vmm.Named;

namespace Vmm.Cli;

/// <summary>Machines with a name that run in the warm emulated host: their directories are apart from those of this machine's own, which
/// would take them for dead, as locks do not reach out of that host.</summary>
/// <remarks>Their records and logs are on this machine and stay when the host has ended; their sockets are in the host's memory.</remarks>
internal static class EmulatedMachines
{
    private const string Folder = "emulated", Runtime = "/dev/shm/vmm-";

    // As there.
    private const uint OthersMayEnter = 0x3F;
    private const int MostPath = 82;

    /// <summary>What a process needs to find them. Empty where there is no place for them.</summary>
    public static IEnumerable<(string Name, string Value)> Variables
    {
        get
        {
            uint user = LibC.geteuid();
            string? state = State();
            return state is null ? []
                : [(MachineStore.Variable, state), (RuntimeRoot.Variable, Runtime + user.ToString(CultureInfo.InvariantCulture))];
        }
    }

    /// <summary>This process's commands are about these machines from now on.</summary>
    public static void UseDirectories()
    {
        foreach ((string name, string value) in Variables.ToArray())
        {
            Environment.SetEnvironmentVariable(name, value);
        }
    }

    public static bool IsThere(string name) => State() is { } state && Directory.Exists(Path.Combine(state, "machines", name));

    /// <summary>Does this user's warm host run? Its place is firmware/kvm-host/warm.c's.</summary>
    public static bool HaveHost()
    {
        uint user = LibC.geteuid();
        string directory = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") is ['/', ..] runtime
            && runtime.Length < MostPath && HostFile.TryStatus(runtime, out Statx status) && status.UserId == user && (status.Mode & OthersMayEnter) == 0
                ? Path.Combine(runtime, "vmm")
                : string.Create(CultureInfo.InvariantCulture, $"/tmp/vmm-{user}");
        using FileDescriptor socket = UnixSocket.Create();
        return UnixSocket.Connect(socket, Path.Combine(directory, "host.sock")) is 0 or ErrnoException.EAGAIN;
    }

    private static string? State()
    {
        if (Environment.GetEnvironmentVariable(MachineStore.Variable) is ['/', ..] given)
        {
            return given;
        }

        try
        {
            return Path.Combine(MachineStore.StateDirectory(), Folder);
        }
        catch (HostException)
        {
            return null;
        }
    }
}
