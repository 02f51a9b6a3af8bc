using System.Globalization;
using System.Runtime.InteropServices;
using Vmm.Host;
using Vmm.Named.Limits;
using Vmm.Named.Logs;

namespace Vmm.Named;

/// <summary>This process as the one that runs a machine with a name in the background: it holds the machine's lock, writes its log
/// and record, and starts it anew where <c>--restart</c> says so.</summary>
/// <remarks>It is its own supervisor: for a restart the process executes itself again, so its number stays the same, and the lock
/// is never released. The directory may be renamed at any time; it is reached by its descriptor.</remarks>
internal sealed unsafe class BackgroundMachine : IDisposable
{
    private const int StandardOutput = 1, LockNumber = ChildProcess.HandedOver;

    // The numbers below are for what is handed over to a program.
    private const int Above = 10;

    private readonly FileDescriptor _directory;
    private readonly FileDescriptor _lock;
    private readonly LogWriter? _log;
    private readonly bool _isWaitedFor;
    private FileDescriptor? _ready;
    private MachineRecord _record;
    private long _up;
    private string? _verdict;

    /// <summary>A machine of this process in the foreground: what it says goes where it would go without a name.</summary>
    private BackgroundMachine(string directory, MachineRecord record, FileDescriptor held)
    {
        _directory = FileDescriptor.Open(directory, LibC.O_RDONLY | LibC.O_DIRECTORY);
        _lock = held;
        _record = record;
        MachineStart.PrepareRuntime(new MachineFolder(Current), _record);
    }

    private BackgroundMachine(string directory)
    {
        _directory = FileDescriptor.Open(directory, LibC.O_RDONLY | LibC.O_DIRECTORY);
        _lock = FileDescriptor.TakeOver(LockNumber, Above);
        _isWaitedFor = HostFile.TryStatus("/proc/self/fd/1", out Statx output) && (output.Mode & LibC.S_IFMT) == LibC.S_IFIFO;
        _ready = FileDescriptor.Duplicate(StandardOutput, Above);
        _log = LogWriter.OfThisProcess(Place);
        _record = OfThisProcess(MachineRecord.Read(Place).Anew());
        EnterCgroups();
        PrivateFiles.MakeDirectory(new MachineFolder(Current).RuntimePath(_record));        // the life before took it away
        Save();
    }

    /// <summary>Where its control socket is to be.</summary>
    public string ControlPath => new MachineFolder(Current).ControlPath(_record);

    /// <summary>The directory, whatever it is called.</summary>
    private string Place => string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{_directory.Number}");

    /// <summary>What it is called now.</summary>
    private string Current => new FileInfo(Place).LinkTarget ?? Place;

    /// <summary>Takes over what <see cref="MachineStart"/> has prepared.</summary>
    /// <param name="option">For the error, where somebody gave it by hand.</param>
    /// <param name="directory">Of the machine.</param>
    /// <exception cref="UsageException">Nothing was prepared.</exception>
    public static BackgroundMachine Enter(string option, string directory)
    {
        // A number that was not handed over may be anything of the runtime's.
        if (LibC.fcntl(LockNumber, LibC.F_GETFD, 0) != 0 || !new MachineFolder(directory).IsLockAt(LockNumber))
        {
            throw new UsageException($"{option}: is for vmm itself, which gives it to machines that run in the background");
        }

        try
        {
            return new BackgroundMachine(directory);
        }
        catch (RecordException error)
        {
            throw new HostException(error.Message);
        }
    }

    /// <summary>Does it end with the command that started it?</summary>
    public bool IsForeground => _record.Foreground;

    /// <summary>Was this process started for it, and not executed again for a restart?</summary>
    public bool IsFirst => _isWaitedFor;

    /// <summary>The record of a machine that this process runs.</summary>
    public static MachineRecord OfThisProcess(MachineRecord record) => record with { Pid = LibC.getpid(), Boot = MachineRecord.BootOfHost };

    /// <summary>Runs a machine here, in the foreground, where others find it by its name; nothing is left of it afterwards.</summary>
    /// <param name="folder">Just made.</param>
    /// <param name="record">As it was written there: <see cref="OfThisProcess"/>.</param>
    /// <param name="held">Its lock; owned from now on.</param>
    /// <param name="run">Runs it to its end, and returns the exit code whatever happens.</param>
    /// <returns>That.</returns>
    public static int RunHere(MachineStore store, MachineFolder folder, MachineRecord record, FileDescriptor held, Func<BackgroundMachine, int> run)
    {
        BackgroundMachine? machine = null;
        try
        {
            machine = new BackgroundMachine(folder.Path, record, held);
            int code = run(machine);
            MachineFolder.WriteEnd(held, code);
            return code;
        }
        finally
        {
            Leave(store, machine is null ? folder : new MachineFolder(machine.Current));
            machine?.Dispose();
            held.Dispose();
        }
    }

    /// <summary>Whatever stays is seen by who lists the machines: how it ended is more important.</summary>
    private static void Leave(MachineStore store, MachineFolder folder)
    {
        try
        {
            store.RemoveOwn(folder);
        }
        catch (HostException error)
        {
            Stderr.WriteLine($"vmm: {error.Message}");
        }
    }

    /// <summary>Reports that the machine is up to the process that started it. Any thread.</summary>
    /// <param name="steps">How it came to that.</param>
    public void Up(IReadOnlyList<StartStep> steps)
    {
        _up = Environment.TickCount64;
        _record = _record with { Started = DateTimeOffset.UtcNow, Steps = steps };
        Save();
        if (Interlocked.Exchange(ref _ready, null) is { } ready)
        {
            byte one = (byte)'+';

            // SAFETY: one byte on this stack.
            _ = LibC.write(ready.Number, &one, 1);
            ready.Dispose();
        }

        ProcessMemory.TrimSoon();
    }

    /// <summary>How it ended, for people.</summary>
    public void Tell(string verdict) => _verdict = verdict;

    /// <summary>The machine has ended, and all output is written: records that, or restarts it and does not return.</summary>
    /// <returns>The exit code.</returns>
    public int Finish(int code)
    {
        Stderr.Finish();
        TimeSpan lasted = _up == 0 ? TimeSpan.Zero : TimeSpan.FromMilliseconds(Environment.TickCount64 - _up);
        var policy = RestartPolicy.Parse(_record.Restart);      // checked when the record was read

        // Whoever started it is told that it never was up, and may try again.
        bool isGivenUp = _up == 0 && _isWaitedFor;
        TimeSpan? delay = isGivenUp || IsToStop ? null : policy.Next(code, lasted, _record.Restarts);
        _record = _record with
        {
            Ended = DateTimeOffset.UtcNow,
            ExitCode = code,
            Verdict = _verdict ?? string.Create(CultureInfo.InvariantCulture, $"vmm ended with code {code}"),
            Again = delay is { } wait ? DateTimeOffset.UtcNow + wait : null,
            Restarts = delay is null ? _record.Restarts : RestartPolicy.Count(lasted, _record.Restarts),
        };
        if (delay is not null)
        {
            Stderr.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"vmm: starting it again in {delay.Value.TotalSeconds:0.#} s (--restart {policy})"));
            Stderr.Finish();
        }

        _log?.Finish();
        Save();
        if (delay is null)
        {
            MachineFolder.WriteEnd(_lock, code);
        }

        RemoveRuntime();
        if (delay is { } pause)
        {
            // Signals do here what they do by default: SIGTERM ends the process, and what is written stays true.
            LastSignals.Release();
            Thread.Sleep(pause);
            if (!IsToStop)
            {
                Again();
            }

            _record = _record with { Again = null };
            Save();
        }

        return code;
    }

    public void Dispose()
    {
        _ready?.Dispose();
        _log?.Dispose();
        _lock.Dispose();
        _directory.Dispose();
    }

    private bool IsToStop => new MachineFolder(Place).IsToStop;

    /// <summary>Executes vmm again for the restart; returns only if that fails, which is logged.</summary>
    private void Again()
    {
        byte[] line = File.ReadAllBytes("/proc/self/cmdline");
        int count = line.AsSpan().Count((byte)0);
        byte** words = (byte**)NativeMemory.AllocZeroed((nuint)count + 1, (nuint)sizeof(byte*));

        // SAFETY: never freed or moved: this process becomes another one, or ends.
        byte* all = (byte*)NativeMemory.Alloc((nuint)line.Length);
        line.CopyTo(new Span<byte>(all, line.Length));
        byte[] fork = [.. System.Text.Encoding.ASCII.GetBytes(MachineStart.ForkOption), 0];
        for (int word = 0, at = 0; at < line.Length;)
        {
            int length = line.AsSpan(at).IndexOf((byte)0) + 1;
            if (!line.AsSpan(at).StartsWith(fork))
            {
                words[word++] = all + at;
            }
            else
            {
                length += line.AsSpan(at + length).IndexOf((byte)0) + 1;        // what it was forked from is gone with its first life
            }

            at += length;
        }

        using FileDescriptor nothing = FileDescriptor.Open("/dev/null", LibC.O_RDWR);
        ErrnoException.Check(LibC.dup3(nothing.Number, StandardOutput, 0), "dup3");
        ErrnoException.Check(LibC.dup3(_lock.Number, LockNumber, 0), "dup3");
        _ = LibC.execv("/proc/self/exe", words);
        Stderr.WriteLine($"vmm: {new ErrnoException("execv", Marshal.GetLastPInvokeError()).Message}");
    }

    /// <summary>In a later life the process is there already.</summary>
    private void EnterCgroups()
    {
        try
        {
            _record = _isWaitedFor ? _record with { Cgroups = Cgroup.Enter(_record.Name, _record.Limits) } : _record;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private void Save()
    {
        try
        {
            // 'vmm update' writes these, and nobody else.
            _record = _record with { Limits = MachineRecord.Read(Place).Limits };
        }
        catch (RecordException)
        {
            // What is written now takes its place.
        }

        try
        {
            string name = Path.GetFileName(Current);
            (MachineName.IsValid(name) ? _record with { Name = name } : _record).Write(Place);
        }
        catch (HostException error)
        {
            // The machine goes on; the log, or nothing, tells.
            Stderr.WriteLine($"vmm: {error.Message}");
        }
    }

    private void RemoveRuntime()
    {
        try
        {
            Directory.Delete(new MachineFolder(Current).RuntimePath(_record), recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // There is none.
        }
    }
}
