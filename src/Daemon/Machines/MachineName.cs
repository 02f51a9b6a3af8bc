namespace Vmm.Daemon.Machines;

/// <summary>Names as <c>vmm run --name</c> takes them. They become parts of paths.</summary>
internal static class MachineName
{
    private const int MostLength = 63;

    public static bool IsValid(string name) =>
        name.Length is > 0 and <= MostLength && (char.IsAsciiLetterLower(name[0]) || char.IsAsciiDigit(name[0]))
        && name.All(static c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '_' or '.' or '-');
}
