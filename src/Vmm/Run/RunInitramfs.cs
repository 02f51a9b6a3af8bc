using System.Text;
using Vmm.Backends.Agent;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Run;

/// <summary>The initramfs that vmm appends: the agent, directories for what it mounts and, where there is no other root,
/// the host's busybox.</summary>
internal static class RunInitramfs
{
    /// <summary>The agent's path, for rdinit=: its own directory, so that a user's initramfs keeps its /init.</summary>
    public const string Agent = "/vmm/agent";

    /// <summary>Where a root file system is mounted before it becomes /.</summary>
    public const string NewRoot = "/vmm/root";

    // Links for the commands that scripts use by path. Busybox has more: its shell finds them itself, and the agent does for
    // commands that are nowhere else.
    private const string Applets =
        "sh ash cat echo ls cp mv rm mkdir ln chmod mount umount ps kill grep sed awk head tail sleep true false test [ env id "
        + "dmesg uname hostname sort wc tr cut dd tar find xargs expr seq date df free ip ifconfig ping nc wget reboot poweroff";

    private static readonly string[] BusyboxPlaces = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"];

    /// <param name="withBusybox">There is no other root file system.</param>
    /// <param name="modules">Files of modules that the agent loads before all else, in this order.</param>
    /// <exception cref="UsageException">This host has no static busybox.</exception>
    public static ReadOnlyMemory<byte> Make(bool withBusybox, IReadOnlyList<string> modules)
    {
        const int Rest = 64 << 10;
        using FileStream? busybox = withBusybox ? OpenBusybox() : null;
        byte[] agent = AgentBinary.Read();
        long size = agent.Length + Rest + (busybox?.Length ?? 0) + modules.Sum(static module => new FileInfo(module).Length);
        var archive = new CpioArchive((int)size);
        archive.Directory("vmm").Program(Agent[1..], agent);
        foreach (string directory in (string[])["dev", "proc", "sys", "run", NewRoot[1..]])
        {
            archive.Directory(directory);
        }

        // The kernel opens it as the standard streams of process 1; every kernel's own initramfs has one, too.
        archive.Device("dev/console", 5, 1);
        AddModules(archive, modules);
        if (busybox is not null)
        {
            AddBusybox(archive, busybox);
        }

        return archive.Finish();
    }

    /// <summary>The files that it is made of, beside vmm itself, which has the agent in it.</summary>
    /// <inheritdoc cref="Make"/>
    public static IReadOnlyList<string> Sources(bool withBusybox, IReadOnlyList<string> modules)
    {
        using FileStream? busybox = withBusybox ? OpenBusybox() : null;
        return busybox is null ? modules : [busybox.Name, .. modules];
    }

    /// <summary>The agent reads vmm/modules: a path a line.</summary>
    private static void AddModules(CpioArchive archive, IReadOnlyList<string> modules)
    {
        if (modules.Count == 0)
        {
            return;
        }

        archive.Directory("vmm/m");
        foreach (string module in modules)
        {
            using FileStream file = Open(module);
            archive.File($"vmm/m/{Path.GetFileName(module)}", file);
        }

        archive.File("vmm/modules", Encoding.ASCII.GetBytes(string.Concat(modules.Select(static each => $"/vmm/m/{Path.GetFileName(each)}\n"))));
    }

    private static void AddBusybox(CpioArchive archive, Stream busybox)
    {
        archive.SharedDirectory("tmp").Directory("root").Directory("etc").Directory("bin").Program("bin/busybox", busybox);
        archive.File("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"u8);
        archive.File("etc/group", "root:x:0:\nnogroup:x:65534:\n"u8);
        archive.File("etc/hosts", "127.0.0.1 localhost\n"u8);
        foreach (string applet in Applets.Split(' '))
        {
            archive.Link($"bin/{applet}", "busybox");
        }
    }

    private static FileStream OpenBusybox()
    {
        Span<byte> head = stackalloc byte[4096];
        foreach (string place in BusyboxPlaces.Where(File.Exists))
        {
            FileStream file = Open(place);
            if (IsStatic(head[..file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false)]))
            {
                file.Position = 0;
                return file;
            }

            file.Dispose();
        }

        throw new UsageException("--root none: takes a static busybox from this host, which has none; "
            + $"{PackageManager.Install("busybox-static", "busybox")}; or give a root file system with --root FILE");
    }

    /// <summary>Without a buffer: it is copied in large pieces.</summary>
    private static FileStream Open(string path) => new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);

    /// <summary>Has it no PT_INTERP (ELF-64, System V ABI chapter 5)? A dynamically linked one would not start.</summary>
    private static bool IsStatic(ReadOnlySpan<byte> elf)
    {
        const int ProgramHeaderSize = 56, Interpreter = 3;
        if (elf.Length < 64 || !elf.StartsWith("\x7f"u8 + "ELF\x02"u8))
        {
            return false;
        }

        int offset = (int)BitConverter.ToInt64(elf[32..]);
        int count = BitConverter.ToInt16(elf[56..]);
        for (int i = 0; i < count && offset + ((i + 1) * ProgramHeaderSize) <= elf.Length; i++)
        {
            if (BitConverter.ToInt32(elf[(offset + (i * ProgramHeaderSize))..]) == Interpreter)
            {
                return false;
            }
        }

        return true;
    }
}
