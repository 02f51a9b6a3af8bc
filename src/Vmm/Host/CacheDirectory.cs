namespace Vmm.Host;

/// <summary>Where this user's programs keep what they can make again: <c>$XDG_CACHE_HOME</c>, ~/.cache where that is not set.</summary>
internal static class CacheDirectory
{
    /// <summary>vmm's part of it. It need not be there.</summary>
    public static string OfVmm => Path.Combine(OfUser, "vmm");

    /// <remarks>XDG Base Directory Specification: a relative path is to be ignored.</remarks>
    private static string OfUser =>
        Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is ['/', ..] chosen
            ? chosen
            : UserHome.Path is { } home ? Path.Combine(home, ".cache") : "/var/cache";
}
