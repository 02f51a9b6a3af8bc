using System.Text;
using Vmm.Host;

namespace Vmm;

/// <summary>What vmm itself says, on standard error. System.Console is not used: it costs milliseconds to start and
/// changes the terminal.</summary>
internal static unsafe class Stderr
{
    private const int StandardError = 2;

    public static void WriteLine(string line) => Write(line + "\n");

    public static void Write(string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
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
