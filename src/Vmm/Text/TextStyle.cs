using System.Globalization;
using Tmds.Linux;
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
        winsize size;
        bool isTerminal = LibC.isatty(fd) == 1;
        int columns = Usual;

        // SAFETY: a struct on this stack.
        if (isTerminal && LibC.ioctl(fd, LibC.TIOCGWINSZ, &size) == 0 && size.ws_col != 0)
        {
            columns = size.ws_col;
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
