using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
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

    /// <summary>Says that the process goes on with the memory of another machine, whose descriptors follow the lock's. Not for people.
    /// </summary>
    public const string ForkOption = "--machine-fork";

    /// <summary>The name of a machine that was forked, before the words of the one that it was forked from. Not for people.</summary>
    public const string NameOption = "--machine-name";

    /// <param name="folder">Of the machine; its record is written.</param>
    /// <param name="life">The machine's lock, taken. Owned, and given to the process.</param>
    /// <exception cref="HostException">The process cannot be started.</exception>
    public static MachineStarted Start(MachineFolder folder, MachineRecord record, FileDescriptor life)
    {
        using var signals = new SignalPipe(LibC.SIGINT, LibC.SIGTERM, LibC.SIGHUP, LibC.SIGQUIT);
        using StartingMachine starting = Begin(folder, record, life);
        return starting.Await(signals);
    }

    /// <summary>The same, without waiting until it is up.</summary>
    /// <param name="fork">The fork's number and what it goes on from; null for a machine that begins.</param>
    /// <inheritdoc cref="Start"/>
    public static StartingMachine Begin(
        MachineFolder folder, MachineRecord record, FileDescriptor life, (string Number, IReadOnlyList<int> Descriptors)? fork = null)
    {
        using (life)
        {
            PrepareRuntime(folder, record);
            folder.IsToStop = false;
            KeepDescriptors();
            (FileDescriptor ready, FileDescriptor theirs) = Pipe.Create();
            try
            {
                using (theirs)
                {
                    using FileDescriptor log = LogWriter.OpenFile(folder.Path);
                    long said = (long)HostFile.Status(log, folder.LogPath).Size;
                    return new StartingMachine(folder, Spawn(folder, record, life, theirs, log, fork), ready, said);
                }
            }
            catch
            {
                ready.Dispose();
                throw;
            }
        }
    }

    /// <summary>The words of a machine's process.</summary>
    /// <param name="more">Further words for this one life of it.</param>
    internal static IReadOnlyList<string> Words(IReadOnlyList<string> commandLine, string directory, params IReadOnlyList<string> more) =>
        commandLine is [("run" or "restore") and var command, ..]
            ? [command, Option, directory, .. more, .. commandLine.Skip(1)]
            : [Option, directory, .. more, .. commandLine];

    /// <summary>The command line of a fork: that of the machine that it is forked from, under another name.</summary>
    /// <param name="words">Of the process that runs that machine.</param>
    public static IReadOnlyList<string> ForkWords(IReadOnlyList<string> words, string name)
    {
        string[] command = words is [("run" or "restore") and var first, ..] ? [first] : [];
        int at = command.Length;
        while (at + 1 < words.Count && words[at] is Option or ForkOption or NameOption)
        {
            at += 2;
        }

        return [.. command, NameOption, name, .. words.Skip(at)];
    }

    private static int Spawn(
        MachineFolder folder,
        MachineRecord record,
        FileDescriptor life,
        FileDescriptor ready,
        FileDescriptor log,
        (string Number, IReadOnlyList<int> Descriptors)? fork)
    {
        string[] more = fork is { } made ? [ForkOption, made.Number] : [];
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
                program[0], [.. program.Skip(1), .. Words(record.CommandLine, folder.Path, more)], log.Number, life.Number,
                output: ready.Number, ownSession: true, more: fork?.Descriptors) ?? throw new HostException($"{program[0]}: vmm's own program is gone");
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

    /// <summary>Makes the directory of its control socket.</summary>
    /// <exception cref="HostException">The path is too long, or cannot be made.</exception>
    internal static void PrepareRuntime(MachineFolder folder, MachineRecord record)
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
