using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Named.Logs;

namespace Vmm.Named;

/// <summary>The process of a machine with a name that was started and is not up yet.</summary>
/// <param name="ready">The process writes a byte there when it is up, or closes it. Owned.</param>
/// <param name="said">The length of its log when it was started.</param>
internal sealed unsafe class StartingMachine(MachineFolder folder, int pid, FileDescriptor ready, long said) : IDisposable
{
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(5);

    public MachineFolder Folder => folder;

    /// <summary>Until it says that it is up, or ends, or this process is told to end.</summary>
    /// <param name="signals">Those that are to end the wait, and the machine.</param>
    public MachineStarted Await(SignalPipe signals)
    {
        pollfd* polls = stackalloc pollfd[2];
        while (true)
        {
            polls[0] = new pollfd { fd = ready.Number, events = LibC.POLLIN };
            polls[1] = new pollfd { fd = signals.Number, events = LibC.POLLIN };

            // SAFETY: two structs on this stack.
            _ = LibC.Poll(polls, 2, -1);
            if (signals.TryRead(out int signal))
            {
                End();
                return new MachineStarted(128 + signal, $"stopped by {SignalNames.Of(signal)} before it was up", "");
            }

            if (polls[0].revents == 0)
            {
                continue;
            }

            byte one;

            // SAFETY: room for one byte on this stack.
            long got = LibC.read(ready.Number, &one, 1);
            if (got == 1)
            {
                return new MachineStarted(null, "", "");
            }

            if (got == 0 || Marshal.GetLastPInvokeError() != ErrnoException.EINTR)
            {
                int code = ChildProcess.Wait(pid) ?? -1;
                string how = code > 128 && code < 128 + 65 ? $"was ended by {SignalNames.Of(code - 128)}"
                    : string.Create(CultureInfo.InvariantCulture, $"ended with code {code}");
                return new MachineStarted(code == 0 ? 1 : code, $"its vmm {how} before it was up", LastWords());
            }
        }
    }

    /// <summary>Asks it to end, and waits for that.</summary>
    public void End()
    {
        _ = LibC.kill(pid, LibC.SIGTERM);
        using var process = new FileDescriptor(LibC.pidfd_open(pid));
        if (process.IsInvalid || !ProcessEnd.Wait(process, EndPatience))
        {
            _ = LibC.kill(pid, LibC.SIGKILL);
        }

        ChildProcess.Wait(pid);
    }

    /// <summary>What it said on standard error, from a place in the log on.</summary>
    private string LastWords()
    {
        const int Most = 64 << 10;
        try
        {
            using FileStream file = File.OpenRead(folder.LogPath);
            file.Position = Math.Max(said, file.Length - Most);
            byte[] all = new byte[Math.Max(0, file.Length - file.Position)];
            int count = file.ReadAtLeast(all, all.Length, throwOnEndOfStream: false);
            var words = new StringBuilder();
            foreach (Range range in all.AsSpan(0, count).Split((byte)'\n'))
            {
                ReadOnlySpan<byte> line = all.AsSpan(range);
                LogLine parts = LogFormat.Read(line);
                if (line.Length > 0 && parts.IsError)
                {
                    words.Append(FileNames.FromBytes(line[parts.TextAt..])).Append(parts.IsWhole ? "\n" : "");
                }
            }

            return words.ToString();
        }
        catch (Exception error) when (FileErrors.Describe(error) is not null)
        {
            return "";
        }
    }

    /// <summary>It goes on, whether it is up or not.</summary>
    public void Dispose() => ready.Dispose();
}
