using Vmm.Host;

namespace Vmm.Backends.Shares;

/// <summary>One virtiofsd process, started by vmm and connected to it by a socket. It ends when the socket is closed, however
/// vmm ends, and also by a signal of the kernel, in case it does not watch the socket.</summary>
/// <remarks>
/// It runs in its own mount namespace, in which the shared tree is mounted at a fixed place, read-only unless the guest may
/// write: so the kernel enforces what the guest may do, not virtiofsd. A user who is not root gets a user
/// namespace as well, in which it is.
/// </remarks>
internal sealed class Virtiofsd : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    // The Rust version first: it is the one that is still developed.
    private static string[] Places =>
        ["/usr/libexec", "/usr/lib", Path.Combine(CacheDirectory.OfVmm, "packages", "virtiofsd", "bin"), "/usr/lib/qemu"];

    /// <summary>$1 the tree, $2 ro or rw, $3 and so on the program; @ in its arguments is where the tree is.</summary>
    /// <remarks>A bind mount is made read-only by a second call, for each mount of the tree. That call keeps the other flags,
    /// because a user namespace cannot remove inherited ones. mountinfo writes spaces as \040.</remarks>
    private const string Script = """
        for stage in /mnt /media /srv /tmp ''; do [ -d "$stage" ] && break; done
        [ -n "$stage" ] || { echo 'no directory to mount the share on: /mnt, /media, /srv or /tmp' >&2; exit 1; }
        tree=$1 mode=$2; shift 2
        mount --rbind -- "$tree" "$stage" || exit 1
        if [ "$mode" = ro ]; then
            while read -r _ _ _ _ at flags _; do
                case $at in "$stage"|"$stage"/*) ;; *) continue ;; esac
                at=$(printf '%b/' "$(printf '%s' "$at" | sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g')")
                at=${at%/}
                case $flags in ro|ro,*) continue ;; esac
                mount -o "remount,bind,ro${flags#rw}" -- "$at" || exit 1
            done < /proc/self/mountinfo
        fi
        cd /
        program=$1; shift
        exec "$program" "$@" $OPTIONS
        """;

    private readonly int _pid;
    private readonly FileDescriptor _errors;
    private bool _ended;

    private Virtiofsd(int pid, FileDescriptor errors, FileDescriptor socket)
    {
        (_pid, _errors, Socket) = (pid, errors, socket);
    }

    /// <summary>Is the program there?</summary>
    public static bool IsInstalled => Find() is not null;

    /// <summary>How to install it, for messages.</summary>
    public static string HowToInstall => PackageManager.Install("virtiofsd (Debian 12: qemu-system-common)", "virtiofsd");

    /// <summary>The front end's end of the connection. Owned by the caller.</summary>
    public FileDescriptor Socket { get; }

    /// <summary>Starts it. It is ready when it answers.</summary>
    /// <param name="directory">The tree; an absolute path.</param>
    /// <param name="share">What the guest may do there.</param>
    /// <param name="sandbox">namespace, or chroot where the host does not let it make namespaces.</param>
    /// <param name="program">The program; null for the one that is installed.</param>
    /// <exception cref="HostException">It is not installed.</exception>
    public static Virtiofsd Start(string directory, ShareSpec share, string sandbox, string? program = null)
    {
        program ??= Find() ?? throw new HostException($"--share: virtiofsd is not installed; {HowToInstall}");
        (FileDescriptor ours, FileDescriptor theirs) = UnixSocket.CreateAccepting();
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        using (theirs)
        using (write)
        {
            if (ChildProcess.Start("unshare", Arguments(program, directory, share, sandbox), write.Number, theirs.Number, ownGroup: true)
                is { } pid)
            {
                return new Virtiofsd(pid, read, ours);
            }

            ours.Dispose();
            read.Dispose();
            throw new HostException("--share: unshare is not installed; it is in the package util-linux");
        }
    }

    /// <summary>Its last error message, once it has ended; empty where there is none.</summary>
    public string LastError()
    {
        Kill();
        string? said = ChildProcess.ReadToEnd(_errors, Patience);
        return said?.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault() ?? "";
    }

    /// <summary>Ends it at once.</summary>
    public void Kill()
    {
        if (!_ended)
        {
            ChildProcess.KillGroup(_pid);
        }
    }

    /// <summary>Waits for its end after its socket was closed, and kills it if it does not end.</summary>
    public void Dispose()
    {
        if (!_ended)
        {
            if (ChildProcess.ReadToEnd(_errors, Patience) is null)
            {
                Kill();
            }

            ChildProcess.Wait(_pid);
            _ended = true;
        }

        _errors.Dispose();
    }

    internal static string[] Arguments(string program, string directory, ShareSpec share, string sandbox)
    {
        // Mapped to root: all that virtiofsd does needs capabilities in its own namespaces only.
        string[] user = LibC.geteuid() == 0 ? [] : ["--user", "--map-root-user"];
        string fd = $"--fd={ChildProcess.HandedOver}";
        // Overlayfs takes no directory that the guest knows to be a mount point (EREMOTE), and that is what the root's /proc is.
        string options = IsOldProgram(program)
            ? $"-f {fd} --rlimit-nofile=0 -o source=$stage -o sandbox={sandbox} -o cache=auto -o log_level=err"
            : $"{fd} --rlimit-nofile=0 --shared-dir $stage --sandbox {sandbox} --cache auto --log-level error --no-announce-submounts";
        if (share.IsRestored)
        {
            // What the guest had open and is gone gives errors to the guest, not to the whole machine.
            options += " --migration-on-error guest-error";
        }

        // The death signal is set after unshare, which would clear it.
        return
        [
            .. user, "--mount", "--propagation", "private", "--", "setpriv", "--pdeathsig", "KILL", "--",
            "sh", "-c", Script.Replace("$OPTIONS", options, StringComparison.Ordinal), "vmm-share",
            directory, share.IsWritable ? "rw" : "ro", program,
        ];
    }

    private static string? Find() => PackageManager.Find("virtiofsd", Places);

    /// <summary>QEMU's own, in C, which its version 8.0 left out, has other options than the one in Rust.</summary>
    private static bool IsOldProgram(string program) => program.StartsWith("/usr/lib/qemu/", StringComparison.Ordinal);
}
