using Vmm.Host;

namespace Vmm.Backends.Networks;

/// <summary>One passt process (passt(1)), started by vmm and connected to it by a socket pair. It ends when the socket
/// does, however vmm ends.</summary>
/// <remarks>passt goes to the background once it is ready and its ports are open, or ends with an error before; that is
/// how both are told apart. The process in the background is vmm's child again, because vmm is made the reaper of its
/// descendants (PR_SET_CHILD_SUBREAPER), and so none is left as a zombie. Which one it is, passt writes into a file: vmm may
/// have other children, those that a shell had before it became vmm. A shell between the two reads the file and deletes it, so
/// that it is deleted even if vmm is killed meanwhile.</remarks>
internal sealed class Passt
{
    // For hosts without any network: the guest reaches this host only. The numbers are those of QEMU's user network.
    private static readonly string[] LocalOnly =
        ["--ipv4-only", "--interface", "lo", "--address", "10.0.2.15", "--netmask", "24", "--gateway", "10.0.2.2",
            "--mac-addr", "52:55:0a:00:02:02"];

    /// <summary>$1 the file, or nothing for none; the rest are passt's arguments. The file is deleted first: vmm, which reads
    /// the output, may have been killed.</summary>
    private const string Script = """
        file=$1 pid=; shift
        passt ${file:+--pid "$file"} "$@"; code=$?
        [ -n "$file" ] && { read -r pid <"$file"; rm -f -- "$file"; } 2>/dev/null
        echo "vmm-passt-process $pid" >&2
        exit $code
        """;

    private const string Said = "vmm-passt-process ";
    private const int NotFound = 127;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly int _pid;
    private readonly FileDescriptor _errors;
    private bool _waited;

    private Passt(int pid, FileDescriptor errors, FileDescriptor socket)
    {
        _pid = pid;
        _errors = errors;
        Socket = socket;
    }

    /// <summary>The socket for frames; does not block. Owned by the caller.</summary>
    public FileDescriptor Socket { get; }

    /// <summary>The process in the background; null before there is one.</summary>
    public int? ProcessId { get; private set; }

    /// <summary>Is there no network beyond this host?</summary>
    public bool IsLocalOnly { get; private init; }

    /// <summary>Starts it. It becomes ready while vmm does other things: <see cref="WaitUntilReady"/>.</summary>
    /// <exception cref="HostException">It is not installed.</exception>
    public static Passt Start(IReadOnlyList<PublishedPort> ports)
    {
        ErrnoException.Check(LibC.prctl(LibC.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl");
        bool localOnly = !HostRoutes.AnyDefault();

        // The name cannot be guessed; passt creates the file itself, as another user if it is started by root.
        string? directory = FindDirectory(Directories);
        string pidFile = directory is null ? "" : $"{directory}/vmm-passt-{Guid.NewGuid():N}.pid";
        string[] arguments = ["-c", Script, "vmm-passt", pidFile, .. Arguments(ports, localOnly)];
        (FileDescriptor ours, FileDescriptor theirs) = UnixSocket.CreatePair();
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        using (theirs)
        using (write)
        {
            // A group of its own: a signal for vmm and its group (Ctrl-C, --each ending its runs) must not end the shell early.
            if (ChildProcess.Start("sh", arguments, write.Number, theirs.Number, ownGroup: true) is { } pid)
            {
                return new Passt(pid, read, ours) { IsLocalOnly = localOnly };
            }

            ours.Dispose();
            read.Dispose();
            throw new HostException("--net user: there is no sh to start passt with");
        }
    }

    /// <summary>Waits until passt is ready and its ports are open.</summary>
    /// <exception cref="HostException">It ended with an error.</exception>
    public void WaitUntilReady()
    {
        string? said = ChildProcess.ReadToEnd(_errors, Patience);
        if (said is null)
        {
            _ = LibC.kill(_pid, LibC.SIGKILL);
        }

        int? code = ChildProcess.Wait(_pid);
        _waited = true;
        ProcessId = code == 0 ? FindProcess(said) : null;
        if (code == NotFound)
        {
            throw new HostException($"--net user: passt is not installed; {PackageManager.Install("passt")}");
        }

        if (said is null)
        {
            throw new HostException($"--net user: passt was not ready after {Patience.TotalSeconds:0} seconds");
        }

        if (code is not (0 or null))
        {
            throw new HostException($"--net user: passt: {LastLine(said)}");
        }
    }

    /// <summary>Waits for the process to end, once its socket is closed.</summary>
    /// <param name="wait">False if it may not end, so that waiting would hang.</param>
    public void Dispose(bool wait)
    {
        if (wait && !_waited)
        {
            ProcessId = ChildProcess.Wait(_pid) == 0 ? FindProcess(ChildProcess.ReadToEnd(_errors, TimeSpan.Zero)) : null;
        }

        if (wait && ProcessId is { } background)
        {
            ChildProcess.Wait(background);
        }

        _errors.Dispose();
    }

    internal static string[] Arguments(IReadOnlyList<PublishedPort> ports, bool localOnly)
    {
        var arguments = new List<string> { "--quiet", "--fd", $"{ChildProcess.HandedOver}" };
        if (localOnly)
        {
            arguments.AddRange(LocalOnly);
        }

        foreach (PublishedPort port in ports)
        {
            // UDP by itself: left out, passt would forward the UDP ports of the same numbers untranslated.
            arguments.AddRange(["--tcp-ports", port.ToPasst(), "--udp-ports", port.ToPasst()]);
        }

        return [.. arguments];
    }

    /// <summary>Where passt may write: /tmp first, regardless of TMPDIR, since distributions' AppArmor profiles allow
    /// that.</summary>
    private static IEnumerable<string?> Directories =>
        ["/tmp", Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR"), "/dev/shm", "/var/tmp"];

    /// <summary>The first that this user may write to; for root, the first that all users may.</summary>
    /// <returns>Null for none: passt then runs without a file.</returns>
    internal static string? FindDirectory(IEnumerable<string?> directories) => directories.FirstOrDefault(
        static directory => directory is ['/', ..] && LibC.access(directory, LibC.W_OK) == 0
            && HostFile.TryStatus(directory, out Statx status)
            && (status.Mode & LibC.S_IFMT) == LibC.S_IFDIR
            && (LibC.geteuid() != 0 || (status.Mode & LibC.S_IWOTH) != 0));

    /// <returns>Null where it is unknown: it still ends with its socket, and init reaps it.</returns>
    private static int? FindProcess(string? said) => said?.Split('\n').FirstOrDefault(static line => line.StartsWith(Said, StringComparison.Ordinal)) is { } line
        && int.TryParse(line.AsSpan(Said.Length), out int number) && number > 0 ? number : null;

    /// <summary>The line with the error; the others are about its log and its user.</summary>
    private static string LastLine(string said) => said
        .Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        .LastOrDefault(line => !line.StartsWith("Failed to send ", StringComparison.Ordinal)
            && !line.StartsWith(Said.TrimEnd(), StringComparison.Ordinal)
            && !line.StartsWith("Don't run as root", StringComparison.Ordinal)) ?? "it ended";
}
