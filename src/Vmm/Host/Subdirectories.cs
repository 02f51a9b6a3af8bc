using Vmm.Boot;

namespace Vmm.Host;

/// <summary>What is kept in a directory, each in a directory of its own.</summary>
internal static class Subdirectories
{
    /// <returns>Their paths, in no order; none where the directory is not there.</returns>
    /// <exception cref="HostException">It cannot be read.</exception>
    public static string[] Of(string directory, string pattern = "*")
    {
        try
        {
            return Directory.GetDirectories(directory, pattern);
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new HostException($"{directory}: {why}");
        }
    }
}
