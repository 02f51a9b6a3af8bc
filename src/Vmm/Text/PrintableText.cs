namespace Vmm.Text;

/// <summary>Text that came from a guest, a file or another program, on its way to a terminal.</summary>
internal static class PrintableText
{
    /// <summary>Control characters become question marks.</summary>
    public static string Of(string text) => string.Concat(text.Select(static c => char.IsControl(c) ? '?' : c));
}
