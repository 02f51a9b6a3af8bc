namespace Vmm.Named;

/// <summary>What machines that stay may be called: part of a path, and easy to type.</summary>
/// <remarks>This file is compiled into vmmd, too.</remarks>
internal static partial class MachineName
{
    public const int MostLength = 63;

    /// <summary>1 to <see cref="MostLength"/> of a-z, 0-9, '_', '.' and '-', the first of them a letter or a digit.</summary>
    public static bool IsValid(string name) =>
        name.Length is > 0 and <= MostLength && (char.IsAsciiLetterLower(name[0]) || char.IsAsciiDigit(name[0]))
        && name.All(static c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '_' or '.' or '-');
}
