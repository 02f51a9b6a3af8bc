using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Cli;

/// <summary>Results of commands, on standard output; see <see cref="Stderr"/> for why not System.Console.</summary>
internal static unsafe class Stdout
{
    public static void WriteLine(string line) => Write(line + "\n");

    /// <exception cref="ErrnoException">Its reader has closed it, or the disk is full.</exception>
    public static void Write(string text)
    {
        byte[] bytes = FileNames.ToBytes(text);
        int done = 0;
        fixed (byte* start = bytes)
        {
            while (done < bytes.Length)
            {
                // SAFETY: done < bytes.Length, and the array is pinned.
                long written = LibC.write(1, start + done, bytes.Length - done);
                done += (int)(written >= 0
                    ? written
                    : throw new ErrnoException(
                        "standard output", System.Runtime.InteropServices.Marshal.GetLastPInvokeError()));
            }
        }
    }
}
