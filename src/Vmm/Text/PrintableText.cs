namespace Vmm.Text;

/// <summary>Makes text from a guest, a file or another program safe to print to a terminal.</summary>
internal static class PrintableText
{
    /// <summary>Control characters become question marks.</summary>
    public static string Of(string text) => string.Concat(text.Select(static c => char.IsControl(c) ? '?' : c));
}
