namespace Vmm.Options;

/// <summary><c>--disk PATH[,readonly]</c>.</summary>
internal sealed record DiskSpec(string Path, bool ReadOnly)
{
    /// <exception cref="UsageException">An option is unknown, or there is no path.</exception>
    public static DiskSpec Parse(string text)
    {
        string[] parts = text.Split(',');
        if (parts[0].Length == 0)
        {
            throw new UsageException($"--disk {text}: no path; write --disk PATH[,readonly]");
        }

        bool readOnly = false;
        foreach (string option in parts.AsSpan(1))
        {
            readOnly |= option is "readonly" or "ro"
                ? true
                : throw new UsageException($"--disk {text}: no such option '{option}'; there is: readonly");
        }

        return new DiskSpec(parts[0], readOnly);
    }
}
