using System.Text;

namespace Vmm.Run.Cache;

/// <summary>What an entry of the cache was made of, by name: once one of these files is another, or the host was started anew, no run
/// can go on from it any more.</summary>
internal sealed class BootOrigin
{
    private const string HostWord = "host ";

    private readonly StringBuilder _text = new();

    /// <summary>The host since it was started; null where that cannot be read.</summary>
    public static string? Host { get; } = TryRead("/proc/sys/kernel/random/boot_id")?.Trim();

    public override string ToString() => $"{HostWord}{Host}\n{_text}";

    public void Add(FileStamp stamp, string path)
    {
        path = Path.GetFullPath(path);
        if (!path.Contains('\n', StringComparison.Ordinal))
        {
            _text.Append(stamp.Text).Append(' ').Append(path).Append('\n');
        }
    }

    /// <param name="file">What <see cref="ToString"/> gave.</param>
    public static bool IsStale(string file) => TryRead(file) is not { Length: > 0 } text
        || text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Any(static line => !IsAsBefore(line));

    public static string? TryRead(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static bool IsAsBefore(string line)
    {
        if (line.StartsWith(HostWord, StringComparison.Ordinal))
        {
            return line[HostWord.Length..] == Host;
        }

        int path = line.IndexOf(" /", StringComparison.Ordinal);
        return path >= 0 && FileStamp.TryOf(line[(path + 1)..]) is { } stamp && stamp.Text == line[..path];
    }
}
