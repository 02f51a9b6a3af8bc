using System.Globalization;
using Vmm.Host;

namespace Vmm.Text;

/// <summary>How a report is printed: its width, and whether in colour.</summary>
/// <param name="Width">Columns.</param>
/// <param name="Colour">Escape sequences are understood and wanted.</param>
internal sealed record TextStyle(int Width, bool Colour)
{
    private const int Narrowest = 60, Usual = 100, Widest = 240;

    /// <summary>As wide as the terminal, in colour unless NO_COLOR is set (no-color.org); plain where it is no terminal.
    /// </summary>
    public static unsafe TextStyle Of(int fd)
    {
        const nuint TIOCGWINSZ = 0x5413;
        ushort* size = stackalloc ushort[4];            // struct winsize: rows, columns, two unused
        bool isTerminal = LibC.IsATty(fd) == 1;
        int columns = Usual;

        // SAFETY: TIOCGWINSZ writes those four numbers.
        if (isTerminal && LibC.Ioctl(fd, TIOCGWINSZ, (nint)size) == 0 && size[1] != 0)
        {
            columns = size[1];
        }
        else if (int.TryParse(
            Environment.GetEnvironmentVariable("COLUMNS"), NumberStyles.None, CultureInfo.InvariantCulture, out int given))
        {
            columns = given;
        }

        return new TextStyle(
            Math.Clamp(columns, Narrowest, Widest),
            isTerminal && Environment.GetEnvironmentVariable("NO_COLOR") is null or "");
    }

    public string Paint(string text, string code) => Colour && text.Length != 0 ? $"\e[{code}m{text}\e[0m" : text;
}
