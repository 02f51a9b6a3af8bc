namespace Vmm.Text;

/// <summary>Words for a shell to read.</summary>
internal static class ShellWord
{
    /// <summary>Unchanged where a shell would not interpret it, else in quotes.</summary>
    public static string Quote(string word) =>
        word.Length > 0 && word.All(static c => char.IsAsciiLetterOrDigit(c) || "-_=+,./:@%".Contains(c, StringComparison.Ordinal))
            ? word
            : $"'{word.Replace("'", "'\\''", StringComparison.Ordinal)}'";

    /// <summary>Is it a name that a variable of a shell may have?</summary>
    public static bool IsVariable(string name) =>
        name.Length > 0 && !char.IsAsciiDigit(name[0]) && name.All(static c => char.IsAsciiLetterOrDigit(c) || c == '_');
}
