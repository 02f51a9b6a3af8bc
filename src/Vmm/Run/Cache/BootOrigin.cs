using System.Text;
using Vmm.Host;

namespace Vmm.Run.Cache;

/// <summary>What an entry of the cache was made of, by name: once one of these files is another, or the host was started anew, no run
/// can go on from it any more.</summary>
internal sealed class BootOrigin
{
    private const string HostWord = "host ";

    private readonly StringBuilder _text = new();

    public override string ToString() => $"{HostWord}{SmallFile.BootId}\n{_text}";

    public void Add(FileStamp stamp, string path)
    {
        path = Path.GetFullPath(path);
        if (!path.Contains('\n', StringComparison.Ordinal))
        {
            _text.Append(stamp.Text).Append(' ').Append(path).Append('\n');
        }
    }

    /// <param name="file">What <see cref="ToString"/> gave.</param>
    public static bool IsStale(string file) => SmallFile.TryRead(file) is not { Length: > 0 } text
        || text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Any(static line => !IsAsBefore(line));

    private static bool IsAsBefore(string line)
    {
        if (line.StartsWith(HostWord, StringComparison.Ordinal))
        {
            return line[HostWord.Length..] == SmallFile.BootId;
        }

        int path = line.IndexOf(" /", StringComparison.Ordinal);
        return path >= 0 && FileStamp.TryOf(line[(path + 1)..]) is { } stamp && stamp.Text == line[..path];
    }
}
