using System.Globalization;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Named.Limits;
using Vmm.Named.Logs;

namespace Vmm.Named;

/// <summary>Where machines with a name are kept: <c>$VMM_STATE_DIR/machines/NAME/</c>; the directory is <c>$XDG_STATE_HOME/vmm</c> where that
/// is not set, and ~/.local/state/vmm where neither is.
/// There is no daemon: commands read the directories, and locks show which machines run.</summary>
/// <param name="root">The directory; it need not be there.</param>
/// <param name="runtime">Where new machines' sockets go: <see cref="RuntimeRoot"/>.</param>
internal sealed class MachineStore(string root, Func<string> runtime)
{
    public const string Variable = "VMM_STATE_DIR";

    private const char Hidden = '.';

    private static int _hidden;

    public static MachineStore Default => new(DefaultRoot(), RuntimeRoot.Find);

    /// <summary>Null where there is no place for one.</summary>
    public static MachineStore? TryDefault
    {
        get
        {
            try
            {
                return Default;
            }
            catch (HostException)
            {
                return null;
            }
        }
    }

    public string Root { get; } = root;

    /// <summary>All machines by name, those with a damaged record, too.</summary>
    /// <exception cref="HostException">The directory cannot be read.</exception>
    public IReadOnlyList<MachineFolder> List() =>
    [
        .. Subdirectories.Of(Root)
            .Where(static path => MachineName.IsValid(Path.GetFileName(path)))
            .Order(StringComparer.Ordinal)
            .Select(static path => new MachineFolder(path)),
    ];

    /// <summary>The directory of a machine, whether it is there or not.</summary>
    /// <param name="name">A valid one.</param>
    public MachineFolder Folder(string name) => new(Path.Combine(Root, name));

    public bool Has(string name) => Directory.Exists(Path.Combine(Root, name));

    /// <exception cref="UsageException">It is no name.</exception>
    /// <exception cref="HostException">There is no such machine.</exception>
    public MachineFolder Find(string name)
    {
        MachineName.Check(name, "");
        return Has(name) ? Folder(name) : throw new HostException($"{name}: no such machine; 'vmm ps -a' lists them");
    }

    /// <summary>For who was to make a machine with this name.</summary>
    public static UsageException Taken(string name) =>
        new($"--name {name}: there is such a machine already; give another name, or remove it: vmm rm {name}");

    /// <summary>Where a new machine's socket goes.</summary>
    public string Runtime => runtime();

    /// <summary>Makes the directory of a new machine, whole or not at all.</summary>
    /// <param name="record">Its name is valid.</param>
    /// <returns>The machine's lock, taken, for the process that will run it; null if the name is taken.</returns>
    public (MachineFolder Folder, FileDescriptor Life)? TryCreate(MachineRecord record)
    {
        PrivateFiles.MakeDirectory(Root);
        Sweep();
        MachineFolder folder = Folder(record.Name);
        string work = HiddenPath(record.Name);
        FileDescriptor? life = null;
        try
        {
            Directory.CreateDirectory(work, PrivateFiles.DirectoryMode);
            life = new MachineFolder(work).CreateLife();
            record.Write(work);
            PrivateFiles.Create(Path.Combine(work, LogFormat.FileName)).Dispose();
            if (!Has(record.Name))
            {
                Directory.Move(work, folder.Path);
                return (folder, life);
            }

            life.Dispose();
            Delete(work);
            return null;
        }
        catch (Exception error) when (error is HostException or ErrnoException || FileErrors.Describe(error) is not null)
        {
            life?.Dispose();
            Delete(work);
            if (error is IOException && Has(record.Name))
            {
                return null;        // somebody else was faster
            }

            throw error is HostException or ErrnoException
                ? error
                : new HostException($"{Root}: {FileErrors.Describe(error)}{FileErrors.Remedy(error.HResult)}");
        }
    }

    /// <summary>Removes a machine that does not run, with all that it left.</summary>
    /// <exception cref="HostException">It runs, is gone, or cannot be removed.</exception>
    public void Remove(MachineFolder folder)
    {
        using FileDescriptor change = folder.LockForChange();
        using FileDescriptor life = folder.TryTakeLife()
            ?? throw new HostException($"{folder.Name}: it runs; stop it first, or remove it with rm -f");
        RemoveLocked(folder);
    }

    /// <summary>Removes a machine that this process runs, and whose lock it holds.</summary>
    /// <inheritdoc cref="Remove"/>
    public void RemoveOwn(MachineFolder folder)
    {
        using FileDescriptor change = folder.LockForChange();
        RemoveLocked(folder);
    }

    /// <summary>Removes one of the foreground whose process was killed: nothing of it is wanted, and its command may be given again.
    /// </summary>
    /// <returns>Was there one?</returns>
    public bool TryRemoveDeadForeground(string name)
    {
        MachineFolder folder = Folder(name);
        if (TryRead(folder) is not { Foreground: true } || folder.IsRunning)
        {
            return false;
        }

        try
        {
            Remove(folder);
        }
        catch (HostException) when (!Has(name) || folder.IsRunning)
        {
            // Somebody else was faster.
        }

        return true;
    }

    private void RemoveLocked(MachineFolder folder)
    {
        MachineRecord? record = TryRead(folder);
        string away = HiddenPath(folder.Name);
        try
        {
            Directory.Move(folder.Path, away);
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            throw new HostException($"{folder.Path}: {why}");
        }

        Delete(away);
        if (record is not null)
        {
            RemoveLeft(folder, record);
        }
    }

    /// <summary>Removes what a machine that has ended leaves outside its directory: its socket, its control groups.</summary>
    internal static void RemoveLeft(MachineFolder folder, MachineRecord record)
    {
        Delete(folder.RuntimePath(record));
        foreach (string group in record.Cgroups)
        {
            new Cgroup(group).Remove();
        }
    }

    /// <summary>Gives a machine another name, whether it runs or not.</summary>
    /// <exception cref="HostException">It is gone, damaged, or the name is taken.</exception>
    public void Rename(MachineFolder folder, string name)
    {
        using FileDescriptor change = folder.LockForChange();
        MachineRecord record = ReadOrExplain(folder);
        MachineFolder renamed = Folder(name);
        if (Has(name))
        {
            throw new HostException($"{name}: there is such a machine already; give another name");
        }

        string from = folder.RuntimePath(record), to = renamed.RuntimePath(record);
        bool hasRuntime = Directory.Exists(from);
        try
        {
            if (hasRuntime)
            {
                Delete(to);         // what a machine of that name left
                Directory.Move(from, to);
            }

            Directory.Move(folder.Path, renamed.Path);
        }
        catch (Exception error) when (FileErrors.Describe(error) is { } why)
        {
            if (hasRuntime && !Directory.Exists(from) && Directory.Exists(to))
            {
                Directory.Move(to, from);
            }

            throw new HostException($"{folder.Name}: {why}");
        }

        // The machine writes its own record with the name that the directory has then; this is for readers until then.
        (ReadOrExplain(renamed) with { Name = name }).Write(renamed.Path);
    }

    /// <exception cref="HostException">It is damaged, of another version, or gone.</exception>
    public static MachineRecord ReadOrExplain(MachineFolder folder)
    {
        try
        {
            return folder.Read();
        }
        catch (RecordException error)
        {
            throw new HostException(error.IsMissing && !Directory.Exists(folder.Path)
                ? $"{folder.Name}: no such machine; 'vmm ps -a' lists them"
                : $"{folder.Name}: {error.Message}; 'vmm rm {folder.Name}' removes the machine");
        }
    }

    private static MachineRecord? TryRead(MachineFolder folder)
    {
        try
        {
            return folder.Read();
        }
        catch (RecordException)
        {
            return null;
        }
    }

    private static string DefaultRoot() => Path.Combine(StateDirectory(), "machines");

    /// <summary>What vmm keeps of a user's machines. XDG Base Directory Specification: a relative path is to be ignored.</summary>
    /// <exception cref="HostException">There is no place for it.</exception>
    public static string StateDirectory()
    {
        if (Environment.GetEnvironmentVariable(Variable) is ['/', ..] own)
        {
            return own;
        }

        string state = Environment.GetEnvironmentVariable("XDG_STATE_HOME") is ['/', ..] chosen ? chosen
            : UserHome.Path is { } home ? Path.Combine(home, ".local", "state")
            : throw new HostException("there is no place for machines with a name: neither XDG_STATE_HOME nor HOME is set, and this user has no home");
        return Path.Combine(state, "vmm");
    }

    /// <summary>For what is being made or removed: <see cref="Sweep"/> knows whose it is.</summary>
    private string HiddenPath(string name) => Path.Combine(
        Root, string.Create(CultureInfo.InvariantCulture, $"{Hidden}{name}.{Interlocked.Increment(ref _hidden)}.{Environment.ProcessId}"));

    /// <summary>Deletes what others left that were killed while they made or removed a machine. One that is at it has the directory's lock,
    /// and is perhaps in another PID name space.</summary>
    private void Sweep()
    {
        foreach (string path in Subdirectories.Of(Root, Hidden + "*"))
        {
            string owner = Path.GetExtension(path).TrimStart('.');
            if (owner.Length > 0 && owner.All(char.IsAsciiDigit) && !Directory.Exists($"/proc/{owner}") && !new MachineFolder(path).IsRunning)
            {
                Delete(path);
            }
        }
    }

    /// <summary>As far as that is possible.</summary>
    private static void Delete(string directory)
    {
        try
        {
            Directory.Delete(directory, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Gone already; or it stays, and is seen by who lists the machines.
        }
    }
}
