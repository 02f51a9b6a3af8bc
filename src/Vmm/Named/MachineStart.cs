using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Named.Logs;

namespace Vmm.Named;

/// <summary>Starts the process of a machine with a name: the command line that its record has, in a session of its own, with the
/// machine's lock, and with its log as standard output and error. Returns when the machine is up.</summary>
internal static unsafe class MachineStart
{
    /// <summary>Gives a machine's process its directory. Not for people.</summary>
    public const string Option = "--machine-directory";

    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(5);

    /// <param name="folder">Of the machine; its record is written.</param>
    /// <param name="life">The machine's lock, taken. Owned, and given to the process.</param>
    /// <exception cref="HostException">The process cannot be started.</exception>
    public static MachineStarted Start(MachineFolder folder, MachineRecord record, FileDescriptor life)
    {
        using (life)
        {
            PrepareRuntime(folder, record);
            folder.IsToStop = false;
            KeepDescriptors();
            (FileDescriptor ready, FileDescriptor theirs) = Pipe.Create();
            using (ready)
            {
                using FileDescriptor log = LogWriter.OpenFile(folder.Path);
                long said = (long)HostFile.Status(log, folder.LogPath).Size;
                using var signals = new SignalPipe(LibC.SIGINT, LibC.SIGTERM, LibC.SIGHUP, LibC.SIGQUIT);
                int pid;
                using (theirs)
                {
                    pid = Spawn(folder, record, life, theirs, log);
                }

                return Await(folder, pid, ready, signals, said);
            }
        }
    }

    /// <summary>The words of a machine's process.</summary>
    internal static IReadOnlyList<string> Words(IReadOnlyList<string> commandLine, string directory) => commandLine is ["run", ..]
        ? ["run", Option, directory, .. commandLine.Skip(1)]
        : [Option, directory, .. commandLine];

    private static int Spawn(MachineFolder folder, MachineRecord record, FileDescriptor life, FileDescriptor ready, FileDescriptor log)
    {
        IReadOnlyList<string> program = OwnCommandLine.Read().Program;
        string before = Environment.CurrentDirectory;
        try
        {
            Environment.CurrentDirectory = record.Directory;
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new HostException($"{folder.Name}: {record.Directory}, where it was started: {why}");
        }

        try
        {
            return ChildProcess.Start(
                program[0], [.. program.Skip(1), .. Words(record.CommandLine, folder.Path)], log.Number, life.Number,
                output: ready.Number, ownSession: true) ?? throw new HostException($"{program[0]}: vmm's own program is gone");
        }
        catch (ErrnoException error)
        {
            throw new HostException(error.Message);
        }
        finally
        {
            Environment.CurrentDirectory = before;
        }
    }

    /// <summary>Until it says that it is up, or ends, or this process is told to end.</summary>
    private static MachineStarted Await(MachineFolder folder, int pid, FileDescriptor ready, SignalPipe signals, long said)
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
                End(pid);
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
                return new MachineStarted(code == 0 ? 1 : code, $"its vmm {how} before it was up", LastWords(folder, said));
            }
        }
    }

    /// <summary>Asks it to end, and waits for that.</summary>
    private static void End(int pid)
    {
        _ = LibC.kill(pid, LibC.SIGTERM);
        using var process = new FileDescriptor(LibC.pidfd_open(pid));
        var poll = new pollfd { fd = process.Number, events = LibC.POLLIN };

        // SAFETY: one struct on this stack.
        if (process.IsInvalid || LibC.Poll(&poll, 1, (int)EndPatience.TotalMilliseconds) <= 0)
        {
            _ = LibC.kill(pid, LibC.SIGKILL);
        }

        ChildProcess.Wait(pid);
    }

    /// <summary>What it said on standard error, from a place in the log on.</summary>
    private static string LastWords(MachineFolder folder, long from)
    {
        const int Most = 64 << 10;
        try
        {
            using FileStream file = File.OpenRead(folder.LogPath);
            file.Position = Math.Max(from, file.Length - Most);
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

    private static void PrepareRuntime(MachineFolder folder, MachineRecord record)
    {
        string path = folder.RuntimePath(record);
        if (Encoding.UTF8.GetByteCount(folder.ControlPath(record)) > UnixSocket.MostPathBytes)
        {
            throw new HostException(
                $"{path}: is too long for a socket's path ({UnixSocket.MostPathBytes} bytes); give a shorter name, or set XDG_RUNTIME_DIR");
        }

        PrivateFiles.MakeDirectory(record.Runtime);     // it may be gone since: it does not outlive a boot
        PrivateFiles.MakeDirectory(path);
    }

    /// <summary>What this process was given open stays with it: it would be held as long as the machine lives, a pipe's other end
    /// for instance.</summary>
    private static void KeepDescriptors()
    {
        foreach (string path in Directory.EnumerateFileSystemEntries("/proc/self/fd"))
        {
            if (int.TryParse(Path.GetFileName(path), NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number > 2)
            {
                _ = LibC.fcntl(number, LibC.F_SETFD, LibC.FD_CLOEXEC);
            }
        }
    }
}

/// <summary>The result of a start.</summary>
/// <param name="Code">What this process is to end with; null where the machine is up.</param>
/// <param name="Why">Why it is not, for people.</param>
/// <param name="LastWords">What its vmm said.</param>
internal sealed record MachineStarted(int? Code, string Why, string LastWords);
