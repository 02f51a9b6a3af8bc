using Vmm.Host;

namespace Vmm.Named.Limits;

/// <summary>The host's block devices, to which limits of input and output apply one by one.</summary>
internal static class BlockDevices
{
    /// <summary>Those that hold something; whole devices, since a partition cannot be limited.</summary>
    /// <param name="directory">/sys/block, or what stands in for it.</param>
    /// <returns>As cgroups write them: <c>254:0</c>.</returns>
    public static IReadOnlyList<string> Find(string directory = "/sys/block")
    {
        var found = new List<string>();
        try
        {
            foreach (string device in Directory.EnumerateDirectories(directory).Order(StringComparer.Ordinal))
            {
                if (Read(device, "size") is not (null or "0") && Read(device, "dev") is { } number)
                {
                    found.Add(number);
                }
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // A host without /sys shows none.
        }

        return found;
    }

    /// <returns>Null where it was taken away meanwhile.</returns>
    private static string? Read(string device, string file) => SmallFile.TryReadLine(Path.Combine(device, file));
}
