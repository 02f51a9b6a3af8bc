using System.Globalization;
using System.Runtime.InteropServices;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Named.Logs;

namespace Vmm.Named;

/// <summary>The directory of one named machine: machine.json, its log, and a lock that its process holds while it runs.
/// </summary>
/// <param name="path">It may be deleted or renamed at any time.</param>
internal sealed unsafe class MachineFolder(string path)
{
    private const string LockFile = "lock", StopFile = "stop", ControlFile = "control.sock";

    /// <summary>Bytes of the lock's file. The first is the machine's: its process has it, and nobody else ever does. The second is
    /// for who changes the directory: starts, renames or removes the machine.</summary>
    private const long Life = 0, Change = 1;

    private static readonly TimeSpan ChangePatience = TimeSpan.FromSeconds(10);

    public string Path { get; } = path;

    public string Name => System.IO.Path.GetFileName(Path);

    public string LogPath => System.IO.Path.Combine(Path, LogFormat.FileName);

    /// <summary>Does a process hold the lock? It ends with its last holder, so no process number is needed.</summary>
    /// <exception cref="ErrnoException">The host has no descriptor to find that out.</exception>
    public bool IsRunning
    {
        get
        {
            // Only to look: the file system may have become read-only.
            using FileDescriptor? file = TryOpenLock(LibC.O_RDONLY);
            int errno = file is null ? Marshal.GetLastPInvokeError() : 0;
            return FileErrors.IsHostsFault(errno) ? throw new ErrnoException(Path, errno) : file is not null && FileLock.IsByteTaken(file, Life);
        }
    }

    /// <summary>Where its control socket is.</summary>
    public string ControlPath(MachineRecord record) => System.IO.Path.Combine(RuntimePath(record), ControlFile);

    /// <summary>The directory for that; this machine's only.</summary>
    public string RuntimePath(MachineRecord record) => System.IO.Path.Combine(record.Runtime, Name);

    /// <exception cref="RecordException">There is none, or none that can be used.</exception>
    public MachineRecord Read() => MachineRecord.Read(Path);

    /// <summary>Makes the machine's lock and takes it, for a directory that nobody else knows yet.</summary>
    public FileDescriptor CreateLife()
    {
        FileDescriptor file = TryOpenLock(LibC.O_RDWR | LibC.O_CREAT)
            ?? throw new ErrnoException(Path, Marshal.GetLastPInvokeError());
        FileLock.TryTakeByte(file, Life);
        return file;
    }

    /// <summary>Takes the lock to start the machine again.</summary>
    /// <returns>Null while the machine runs.</returns>
    public FileDescriptor? TryTakeLife()
    {
        FileDescriptor? file = TryOpenLock(LibC.O_RDWR | LibC.O_CREAT);
        if (file is not null && FileLock.TryTakeByte(file, Life))
        {
            return file;
        }

        file?.Dispose();
        return null;
    }

    /// <summary>Locks the directory: no other process starts, renames or removes the machine until the result is
    /// disposed.</summary>
    /// <exception cref="HostException">It was removed, or another process holds the lock for too long.</exception>
    public FileDescriptor LockForChange()
    {
        long end = Environment.TickCount64 + (long)ChangePatience.TotalMilliseconds;
        while (true)
        {
            FileDescriptor file = TryOpenLock(LibC.O_RDWR | (Directory.Exists(Path) ? LibC.O_CREAT : 0)) ?? throw NoSuchMachine(Marshal.GetLastPInvokeError());
            if (FileLock.TryTakeByte(file, Change))
            {
                // Whoever had it before may have moved the directory away.
                if (IsLockAt(file.Number))
                {
                    return file;
                }

                file.Dispose();
                throw NoSuchMachine(ErrnoException.ENOENT);
            }

            file.Dispose();
            if (Environment.TickCount64 > end)
            {
                throw new HostException($"{Name}: somebody else starts, renames or removes it");
            }

            Thread.Sleep(20);
        }
    }

    /// <summary>Is a descriptor of this process the lock of this directory?</summary>
    public bool IsLockAt(int number) =>
        HostFile.TryStatus(System.IO.Path.Combine(Path, LockFile), out Statx there)
        && HostFile.TryStatus(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{number}"), out Statx mine)
        && mine.IsSameFile(there);

    /// <summary>The lock, to be read for the exit code; null where the machine is gone.</summary>
    public FileDescriptor? OpenForEnd() => TryOpenLock(LibC.O_RDONLY);

    /// <summary>Writes a machine's exit code into its lock, which who waits for it has open: its directory may be removed before he
    /// looks again.</summary>
    public static void WriteEnd(FileDescriptor life, int code)
    {
        // SAFETY: a number of this stack. A full disk loses it: who waits finds the record, or takes it for killed.
        _ = LibC.ftruncate(life.Number, 0);
        _ = LibC.pwrite(life.Number, &code, sizeof(int), 0);
    }

    /// <returns>Null where it was not written.</returns>
    public static int? ReadEnd(FileDescriptor life)
    {
        int code;

        // SAFETY: room for the number on this stack.
        return LibC.pread(life.Number, &code, sizeof(int), 0) == sizeof(int) ? code : null;
    }

    /// <summary>Whoever stops it says so here: then it is not started again by itself.</summary>
    public bool IsToStop
    {
        get => File.Exists(System.IO.Path.Combine(Path, StopFile));
        set
        {
            string file = System.IO.Path.Combine(Path, StopFile);
            if (value)
            {
                PrivateFiles.Create(file).Dispose();
            }
            else
            {
                File.Delete(file);
            }
        }
    }

    private FileDescriptor? TryOpenLock(int flags)
    {
        int number = LibC.open(System.IO.Path.Combine(Path, LockFile), flags | LibC.O_CLOEXEC, (uint)PrivateFiles.OwnerOnly);
        return number < 0 ? null : new FileDescriptor(number);
    }

    private HostException NoSuchMachine(int errno) => new(errno is ErrnoException.ENOENT
        ? $"{Name}: no such machine; 'vmm ps -a' lists them"
        : new ErrnoException(Path, errno).Message);
}
