using System.Globalization;
using System.Text;

namespace Vmm.Insight.Complaints;

/// <summary>What a Linux kernel complains of on its console.</summary>
internal enum ComplaintKind
{
    Panic,
    Oops,
    Bug,
    Warning,
    Kasan,
    Kcsan,
    Ubsan,
    Lockdep,
    HungTask,
    SoftLockup,
    HardLockup,
    RcuStall,
    OutOfMemory,
}

/// <summary>One line in which a guest's kernel complains. A report of many lines may hold several.</summary>
/// <param name="Line">The number of the console's line, from 1.</param>
/// <param name="Text">From where the kernel's own words begin, without its timestamp: safe to print, and bounded.
/// </param>
internal sealed record Complaint(ComplaintKind Kind, long Line, string Text)
{
    /// <summary>Most characters of a text.</summary>
    public const int LongestText = 200;

    /// <summary>Copies a text from the guest's bytes, which may be anything: control characters become question marks.
    /// </summary>
    public static Complaint Of(ComplaintKind kind, long line, ReadOnlySpan<byte> text) => new(kind, line, Printable(text));

    internal static string Printable(ReadOnlySpan<byte> bytes)
    {
        bool isCut = bytes.Length > LongestText;
        string text = Encoding.UTF8.GetString(isCut ? bytes[..LongestText] : bytes).TrimEnd();
        return string.Concat(text.Select(c => IsPrintable(c) ? c : '?')) + (isCut ? "..." : "");
    }

    private static bool IsPrintable(char c) =>
        !char.IsControl(c) && CharUnicodeInfo.GetUnicodeCategory(c) is not (UnicodeCategory.Format
            or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator);
}

/// <summary>The names of the kinds, for command lines and results.</summary>
internal static class ComplaintNames
{
    /// <summary>All, in the order of <see cref="ComplaintKind"/>.</summary>
    public static IReadOnlyList<string> All { get; } =
    [
        "panic", "oops", "BUG", "WARNING", "KASAN", "KCSAN", "UBSAN", "lockdep", "hung-task", "soft-lockup", "hard-lockup",
        "rcu-stall", "oom",
    ];

    public static string NameOf(ComplaintKind kind) => All[(int)kind];

    /// <summary>Upper and lower case are the same.</summary>
    public static ComplaintKind? Find(string name)
    {
        for (int i = 0; i < All.Count; i++)
        {
            if (string.Equals(All[i], name, StringComparison.OrdinalIgnoreCase))
            {
                return (ComplaintKind)i;
            }
        }

        return null;
    }
}
