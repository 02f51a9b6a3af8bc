using Vmm.Host;
using Vmm.Named;

namespace Vmm.Cli;

/// <summary>Which machine a user means: by its name, or by the path of its control socket.</summary>
internal static class ControlAddress
{
    /// <returns>The path of the socket.</returns>
    /// <exception cref="UsageException">It is neither.</exception>
    /// <exception cref="HostException">There is no machine of that name.</exception>
    public static string Resolve(string machine)
    {
        if (machine.Contains('/', StringComparison.Ordinal))
        {
            return machine;
        }

        MachineFolder folder = MachineStore.Default.Find(machine);
        return folder.ControlPath(MachineStore.ReadOrExplain(folder));
    }
}
