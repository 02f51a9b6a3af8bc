using Vmm.Boot;

namespace Vmm.Host;

/// <summary>What vmm itself says, on standard error. System.Console is not used: it costs milliseconds to start and
/// changes the terminal.</summary>
internal static unsafe class Stderr
{
    private const int StandardError = 2;

    /// <summary>Set while a terminal is in raw mode: a line feed alone then runs down in stairs.</summary>
    public static bool NeedsCarriageReturns { get; set; }

    public static bool IsTerminal => LibC.IsATty(StandardError) == 1;

    public static void WriteLine(string line) => Write(line + "\n");

    public static void Write(string text)
    {
        byte[] bytes = FileNames.ToBytes(
            NeedsCarriageReturns ? text.Replace("\n", "\r\n", StringComparison.Ordinal) : text);
        int done = 0;
        fixed (byte* start = bytes)
        {
            while (done < bytes.Length)
            {
                // SAFETY: done < bytes.Length, and the array is pinned.
                nint written = LibC.Write(StandardError, start + done, (nuint)(bytes.Length - done));
                if (written <= 0)
                {
                    return; // nobody to tell
                }

                done += (int)written;
            }
        }
    }
}
