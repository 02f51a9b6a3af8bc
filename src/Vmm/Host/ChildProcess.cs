using System.Collections;
using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>A program that vmm starts; it inherits only what it is given. Not System.Diagnostics.Process, which cannot pass
/// descriptors and costs milliseconds.</summary>
internal static unsafe class ChildProcess
{
    /// <summary>The number in the child of the descriptor that is passed.</summary>
    public const int HandedOver = 3;

    /// <summary>A shell's exit code when there is no such program.</summary>
    private const int NotFound = 127;

    /// <summary>Starts a program from the PATH: no input, no output, errors to a descriptor, and another descriptor passed to
    /// it.</summary>
    /// <param name="ownGroup">Its process group is its own, with its process id as number: the terminal's signals do not
    /// reach it, and <see cref="KillGroup"/> reaches it and all that it starts.</param>
    /// <param name="output">Its standard output; nothing if not given.</param>
    /// <param name="ownSession">It leads a session of its own, without a terminal.</param>
    /// <param name="more">Further descriptors that are passed to it, from <see cref="HandedOver"/> + 1 on.</param>
    /// <returns>Its process id; null when there is no such program.</returns>
    /// <exception cref="ErrnoException">It cannot be started.</exception>
    public static int? Start(
        string program,
        IReadOnlyList<string> arguments,
        int errors,
        int handOver,
        bool ownGroup = false,
        int output = -1,
        bool ownSession = false,
        IReadOnlyList<int>? more = null)
    {
        List<FileDescriptor> kept = [];
        using var nothing = FileDescriptor.Open("/dev/null", LibC.O_RDWR);
        SpawnFileActions actions;
        SpawnAttributes attributes;
        sigset_t all = default, none = default;
        new Span<byte>(&all, sizeof(sigset_t)).Fill(0xff);

        // SAFETY: structs on this stack, initialised by the calls made for that; the arrays end with a null each.
        byte** argv = Strings([program, .. arguments]);
        byte** envp = Strings(Environment.GetEnvironmentVariables().Cast<DictionaryEntry>().Select(e => $"{e.Key}={e.Value}"));
        Check(LibC.posix_spawn_file_actions_init(&actions), program);
        Check(LibC.posix_spawnattr_init(&attributes), program);
        try
        {
            // First what is handed over, as its number in the child may be that of another one here.
            int[] given = [handOver, .. more ?? []];
            foreach (int number in given)
            {
                kept.Add(FileDescriptor.Duplicate(number, HandedOver + given.Length));
            }

            Check(LibC.posix_spawn_file_actions_adddup2(&actions, nothing.Number, 0), program);
            Check(LibC.posix_spawn_file_actions_adddup2(&actions, output >= 0 ? output : nothing.Number, 1), program);
            Check(LibC.posix_spawn_file_actions_adddup2(&actions, errors, 2), program);
            for (int i = 0; i < kept.Count; i++)
            {
                Check(LibC.posix_spawn_file_actions_adddup2(&actions, kept[i].Number, HandedOver + i), program);
            }

            // The runtime ignores SIGPIPE and vmm blocks a signal; the child gets the defaults.
            int flags = LibC.POSIX_SPAWN_SETSIGDEF | LibC.POSIX_SPAWN_SETSIGMASK
                | (ownGroup ? LibC.POSIX_SPAWN_SETPGROUP : 0) | (ownSession ? LibC.POSIX_SPAWN_SETSID : 0);
            Check(LibC.posix_spawnattr_setflags(&attributes, (short)flags), program);
            Check(LibC.posix_spawnattr_setsigdefault(&attributes, &all), program);
            Check(LibC.posix_spawnattr_setsigmask(&attributes, &none), program);
            int pid;
            int errno = LibC.posix_spawnp(&pid, argv[0], &actions, &attributes, argv, envp);
            if (errno == ErrnoException.ENOENT)
            {
                return null;
            }

            Check(errno, program);
            return pid;
        }
        finally
        {
            kept.ForEach(static each => each.Dispose());
            _ = LibC.posix_spawn_file_actions_destroy(&actions);
            _ = LibC.posix_spawnattr_destroy(&attributes);
            Free(argv);
            Free(envp);
        }
    }

    /// <summary>How a program ended, and what it wrote to standard error.</summary>
    /// <param name="Code">Its exit code, 128 and more for a signal.</param>
    internal readonly record struct Ended(int Code, string Said)
    {
        /// <summary>Is the program, or one that it is to start, not installed?</summary>
        public bool IsMissing => Code == NotFound;

        /// <summary>The first line that is a message, for a line of vmm's own; empty when there is none.</summary>
        public string FirstLine
        {
            get
            {
                string[] lines = Said.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
                return string.Concat((lines.FirstOrDefault(static line => line.Contains(": ", StringComparison.Ordinal))
                    ?? lines.FirstOrDefault() ?? "").Select(static c => char.IsControl(c) ? '?' : c));
            }
        }
    }

    /// <summary>Runs a program to its end, as <see cref="Start"/> starts one. A signal that ends vmm (<see cref="EarlySignals"/>) kills it,
    /// and what it has started.</summary>
    /// <exception cref="StoppedException">One came.</exception>
    public static Ended Run(string program, IReadOnlyList<string> arguments, int handOver)
    {
        (FileDescriptor read, FileDescriptor write) = Pipe.Create();
        using (read)
        {
            int? pid;
            using (write)
            {
                pid = Start(program, arguments, write.Number, handOver, ownGroup: EarlySignals.Number >= 0);
            }

            if (pid is not { } child)
            {
                return new Ended(NotFound, $"{program}: not found");
            }

            string? said = ReadToEnd(read, Timeout.InfiniteTimeSpan, EarlySignals.Number);
            if (said is null)
            {
                KillGroup(child);
            }

            int code = Wait(child) ?? -1;
            EarlySignals.Check();
            return new Ended(code, said ?? "");
        }
    }

    /// <summary>Waits for a child to end.</summary>
    /// <returns>Its exit code, 128 and more for a signal; null when there is no such child.</returns>
    public static int? Wait(int pid)
    {
        int result;
        int status;
        do
        {
            result = LibC.waitpid(pid, &status, 0);
        }
        while (result < 0 && Marshal.GetLastPInvokeError() == ErrnoException.EINTR);

        // WEXITSTATUS and WTERMSIG of <sys/wait.h>.
        return result < 0 ? null : (status & 0x7f) == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
    }

    /// <summary>Kills a child that has its own process group, and everything that it started.</summary>
    public static void KillGroup(int pid) => _ = LibC.kill(-pid, LibC.SIGKILL);

    /// <summary>Reads text until all writers have closed the pipe, or the time is over.</summary>
    /// <param name="patience">For how long; infinite for ever.</param>
    /// <param name="stop">Readable when nobody waits for it any more; -1 for nothing.</param>
    /// <returns>Null when the time was over, or nobody waits.</returns>
    public static string? ReadToEnd(FileDescriptor pipe, TimeSpan patience, int stop = -1)
    {
        const int Most = 64 << 10;
        var text = new StringBuilder();
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        Span<byte> buffer = stackalloc byte[1024];
        while (true)
        {
            TimeSpan left = patience == Timeout.InfiniteTimeSpan ? patience : TimeSpan.FromMilliseconds(Math.Max(0, end - Environment.TickCount64));
            if (Pipe.Read(pipe, buffer, left, stop) is not { } count)
            {
                return null;
            }

            if (count <= 0)
            {
                return text.ToString();
            }

            if (text.Length < Most)
            {
                text.Append(Encoding.UTF8.GetString(buffer[..count]));
            }
        }
    }

    private static void Check(int errno, string program)
    {
        if (errno != 0)
        {
            throw new ErrnoException(program, errno);
        }
    }

    /// <summary>An array as execve(2) takes it.</summary>
    private static byte** Strings(IEnumerable<string> strings)
    {
        string[] all = [.. strings];

        // SAFETY: room for all and the null behind them.
        byte** array = (byte**)NativeMemory.AllocZeroed((nuint)all.Length + 1, (nuint)sizeof(byte*));
        for (int i = 0; i < all.Length; i++)
        {
            array[i] = (byte*)Marshal.StringToCoTaskMemUTF8(all[i]);
        }

        return array;
    }

    private static void Free(byte** array)
    {
        // SAFETY: made by Strings, and freed once.
        for (int i = 0; array[i] is not null; i++)
        {
            Marshal.FreeCoTaskMem((nint)array[i]);
        }

        NativeMemory.Free(array);
    }
}
