using System.Runtime.CompilerServices;

namespace Vmm.Guest.Tests.Harness;

/// <summary>The machines of <c>vmm run</c> go on from where the first of their kind in this process had booted: most tests are about
/// what comes after that. The cache is this process's, so each kind does boot once, with the vmm that is tested, and nothing is left
/// in the user's.</summary>
internal static class OwnBootCache
{
    [ModuleInitializer]
    internal static void Make()
    {
        // What the project's scripts keep stays where it is.
        string user = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is ['/', ..] chosen
            ? chosen
            : Path.Combine(Environment.GetEnvironmentVariable("HOME") ?? "/root", ".cache");
        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable("VMM_CACHE")))
        {
            Environment.SetEnvironmentVariable("VMM_CACHE", Path.Combine(user, "vmm"));
        }

        string own = Directory.CreateTempSubdirectory("vmm-guest-cache-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(own, recursive: true);
        Environment.SetEnvironmentVariable("XDG_CACHE_HOME", own);
        Environment.SetEnvironmentVariable("VMM_COLD", null);
    }
}
