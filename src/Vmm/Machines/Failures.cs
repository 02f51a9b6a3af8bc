using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Host;

namespace Vmm.Machines;

/// <summary>Turns exceptions into messages for the user.</summary>
internal static class Failures
{
    /// <returns>One line; for an unexpected exception, which is a bug of vmm, with its type.</returns>
    public static string Describe(Exception error) => error switch
    {
        IOException => FileErrors.Describe(error)! + FileErrors.Remedy(error.HResult),
        _ when IsExpected(error) => error.Message,
        _ => $"internal error, please report it: {error.GetType().Name}: {error.Message}",
    };

    public static bool IsExpected(Exception error) => error
        is HostException or ErrnoException or UsageException or BootException or CpuModelException or GuestMemoryException or IOException or StoppedException;
}
