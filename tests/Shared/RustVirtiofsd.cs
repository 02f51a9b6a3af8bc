using System.Diagnostics;

namespace Vmm.Tests.Shared;

/// <summary>The virtiofsd in Rust, which Debian has from 13 on and which tells what a guest has open.</summary>
internal static class RustVirtiofsd
{
    private static readonly Lazy<string> Fetched = new(Fetch);

    /// <summary>For PATH.</summary>
    public static string Directory => Fetched.Value;

    private static string Fetch()
    {
        using Process fetch = Process.Start(new ProcessStartInfo(Path.Combine(SourceTree.Root, "firmware/virtiofsd/fetch"))
        {
            RedirectStandardOutput = true,
        })!;
        string said = fetch.StandardOutput.ReadToEnd().Trim();
        fetch.WaitForExit();
        return fetch.ExitCode == 0 ? said : throw new InvalidOperationException("firmware/virtiofsd/fetch failed");
    }
}
