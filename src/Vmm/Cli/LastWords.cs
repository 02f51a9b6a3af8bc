using Vmm.Boot;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Cli;

/// <summary>What is said of an error that ends vmm, and what it exits with then.</summary>
internal static class LastWords
{
    /// <returns>The exit code.</returns>
    public static int Tell(Exception error)
    {
        switch (error)
        {
            case UsageException usage:
                Stderr.WriteLine($"vmm: {usage.Line}");
                return ExitCodes.Usage;
            case StoppedException stopped:
                Stderr.WriteLine($"vmm: {stopped.Message}");
                return ExitCodes.SignalBase + stopped.Signal;
            case CpuModelException or BootException { IsHostsFault: false }:
                Stderr.WriteLine($"vmm: {error.Message}");
                return ExitCodes.Usage;
        }

        // Whatever it is: uncaught, nothing on the way out would be put right, the terminal among it.
        Stderr.WriteLine($"vmm: {Failures.Describe(error)}");
        if (Failures.IsExpected(error))
        {
            return ExitCodes.HostCannot;
        }

        Stderr.WriteLine(error.ToString());
        return ExitCodes.InternalError;
    }
}
