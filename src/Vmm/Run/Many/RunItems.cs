using System.Globalization;
using System.IO.Enumeration;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Run.Many;

/// <summary>The items of <c>--each</c>: files that match a pattern, or the lines of a list.</summary>
internal static class RunItems
{
    /// <param name="text">A pattern with *, ? and ** for any directories; or @FILE, an item a line, @- for standard input.</param>
    /// <returns>In the order of the pattern's names, ordinal; of a list in its own order. Each once.</returns>
    /// <exception cref="UsageException">Nothing matches, or the list cannot be read.</exception>
    public static IReadOnlyList<string> Find(string text)
    {
        List<string> items = [.. (text.StartsWith('@') ? ReadList(text[1..]) : Match(text).Order(StringComparer.Ordinal)).Distinct()];
        return items.Count > 0
            ? items
            : throw new UsageException(text.StartsWith('@')
                ? $"--each {text}: the list is empty"
                : $"--each {text}: no file matches; in a shell quote the pattern, so that vmm gets it");
    }

    /// <summary>The items of one shard: those whose place in the order of names, from 0, leaves I - 1 when divided by N. So every
    /// item is in one shard whatever order a list has.</summary>
    /// <param name="name">Of an item.</param>
    /// <param name="shard">I and N of <c>--shard I/N</c>.</param>
    public static IReadOnlyList<T> Take<T>(IReadOnlyList<T> items, Func<T, string> name, (int Number, int Of) shard) =>
        [.. items.OrderBy(name, StringComparer.Ordinal).Where((_, place) => place % shard.Of == shard.Number - 1)];

    /// <exception cref="UsageException">It is none.</exception>
    public static (int Number, int Of) ParseShard(string text)
    {
        string[] parts = text.Split('/');
        return parts.Length == 2
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out int number)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out int of)
            && number >= 1 && number <= of
                ? (number, of)
                : throw new UsageException($"--shard {text}: takes I/N with I from 1 to N, for instance --shard 2/4");
    }

    /// <summary>The command for an item, which is inserted into its words; if none has a placeholder, it is added as the last
    /// word (as xargs(1) does).</summary>
    public static IReadOnlyList<string> CommandFor(IReadOnlyList<string> command, string item, int number = 1) =>
        command.Any(HasPlace) ? [.. command.Select(word => Put(word, item, number))] : [.. command, item];

    /// <summary>Inserts the item into a word: <c>{}</c> is the item, <c>{/}</c> its last part, <c>{#}</c> its number, from
    /// 1.</summary>
    public static string Put(string word, string item, int number) => HasPlace(word)
        ? string.Join(item, word
            .Replace("{#}", number.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal).Split("{}")
            .Select(part => part.Replace("{/}", Path.GetFileName(item.TrimEnd('/')), StringComparison.Ordinal)))
        : word;

    /// <summary>Does a word have a placeholder for the item?</summary>
    public static bool HasPlace(string word) => word.Contains("{}", StringComparison.Ordinal)
        || word.Contains("{/}", StringComparison.Ordinal) || word.Contains("{#}", StringComparison.Ordinal);

    /// <summary>A name for files of an item: each item has its own.</summary>
    public static string FileNameOf(string item, int place) => string.Create(
        CultureInfo.InvariantCulture,
        $"{place + 1:000}-{string.Concat(item.Take(80).Select(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' ? c : '-'))}");

    private static IEnumerable<string> ReadList(string path)
    {
        try
        {
            string text = path == "-" ? System.Console.In.ReadToEnd() : File.ReadAllText(path);
            return text.Split('\n').Select(static line => line.TrimEnd('\r')).Where(static line => line.Length > 0);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"--each @{path}: {FileErrors.Describe(error)}");
        }
    }

    private static IEnumerable<string> Match(string pattern)
    {
        string[] parts = pattern.Split('/', StringSplitOptions.RemoveEmptyEntries);
        IEnumerable<string> found = [pattern.StartsWith('/') ? "/" : ""];
        for (int i = 0; i < parts.Length; i++)
        {
            string part = parts[i];
            bool isLast = i == parts.Length - 1;
            found = [.. found.SelectMany(directory => Step(directory, part, isLast))];
        }

        return found.Where(File.Exists);
    }

    private static IEnumerable<string> Step(string directory, string part, bool isLast)
    {
        var options = new EnumerationOptions { IgnoreInaccessible = true, AttributesToSkip = 0, MatchCasing = MatchCasing.CaseSensitive };
        if (part == "**")
        {
            // Links are not followed: they may form a loop.
            var deep = new EnumerationOptions { IgnoreInaccessible = true, RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint };
            IEnumerable<string> all = Directory.EnumerateDirectories(Here(directory), "*", deep).Select(path => Join(directory, Path.GetRelativePath(Here(directory), path)));
            return isLast ? all.Prepend(directory).SelectMany(each => Step(each, "*", isLast: true)) : all.Prepend(directory);
        }

        if (!part.AsSpan().ContainsAny('*', '?'))
        {
            string path = Join(directory, part);
            return (isLast ? File.Exists(path) : Directory.Exists(path)) ? [path] : [];
        }

        if (!Directory.Exists(Here(directory)))
        {
            return [];
        }

        // As in a shell: names that begin with a dot only where the pattern says so.
        return (isLast ? Directory.EnumerateFiles(Here(directory), "*", options) : Directory.EnumerateDirectories(Here(directory), "*", options))
            .Select(static path => Path.GetFileName(path))
            .Where(name => (name[0] != '.' || part[0] == '.') && FileSystemName.MatchesSimpleExpression(part, name, ignoreCase: false))
            .Select(name => Join(directory, name));
    }

    private static string Here(string directory) => directory.Length == 0 ? "." : directory;

    private static string Join(string directory, string name) =>
        directory.Length == 0 ? name : directory.EndsWith('/') ? directory + name : $"{directory}/{name}";
}
