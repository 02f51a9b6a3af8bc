using System.Buffers.Binary;
using System.Text;
using Vmm.Backends.Agent;
using Vmm.Backends.Shares;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Run.Roots;

namespace Vmm.Run;

/// <summary>Sends the agent the guest's set-up, before the command starts.</summary>
internal static class RunSetup
{
    private const string RootDisk = "/dev/vda";

    // mount(2), <linux/mount.h>.
    private const uint ReadOnly = 1, NoSuid = 2, NoDevices = 4, NoExecution = 8;

    /// <param name="isRestored">The guest booted another time, and others go on from there, too.</param>
    public static void Send(AgentSession session, RunOptions options, bool isRestored = false)
    {
        if (isRestored)
        {
            FreshIdentity.Same.Send(session);
        }
        else
        {
            FreshIdentity.SendClock(session);
        }

        session.Tell(AgentFrameType.Hostname, Encoding.UTF8.GetBytes(options.Hostname));
        session.Tell(AgentFrameType.Loopback);
        string root = options.HasRoot ? RunInitramfs.NewRoot : "";
        if (options.Root.IsOnDisk)
        {
            // The agent finds file systems in /proc.
            Mount(session, "proc", "/proc", "proc");
            Mount(session, "dev", "/dev", "devtmpfs", options: "mode=755");
        }

        switch (options.Root.Kind)
        {
            case RootKind.Disk or RootKind.PackedDirectory:
                Mount(session, RootDisk, root, "auto", AgentMountHow.Wait);
                break;
            case RootKind.Archive:
                MountOverlay(session, RootDisk, "squashfs", root);
                break;
            case RootKind.Share:
                MountOverlay(session, RunRoot.Tag, "virtiofs", root);
                break;
        }

        Mount(session, "proc", root + "/proc", "proc", flags: NoSuid | NoDevices | NoExecution);
        Mount(session, "sys", root + "/sys", "sysfs", AgentMountHow.Optional, NoSuid | NoDevices | NoExecution);
        Mount(session, "dev", root + "/dev", "devtmpfs", flags: NoSuid, options: "mode=755");
        MakeDirectory(session, root + "/dev/pts");
        MakeDirectory(session, root + "/dev/shm");
        Mount(session, "devpts", root + "/dev/pts", "devpts", AgentMountHow.Optional, NoSuid | NoExecution, "mode=620,ptmxmode=666");
        Mount(session, "shm", root + "/dev/shm", "tmpfs", AgentMountHow.Optional, NoSuid | NoDevices, "mode=1777");
        Mount(session, "run", root + "/run", "tmpfs", AgentMountHow.Optional, NoSuid | NoDevices, "mode=755");
        Mount(session, "tmp", root + "/tmp", "tmpfs", AgentMountHow.Optional, NoSuid | NoDevices, "mode=1777");
        Link(session, "/proc/self/fd", root + "/dev/fd");
        Link(session, "fd/0", root + "/dev/stdin");
        Link(session, "fd/1", root + "/dev/stdout");
        Link(session, "fd/2", root + "/dev/stderr");
        foreach (ShareSpec share in options.Machine.Shares.Where(share => share.Tag != RunRoot.Tag))
        {
            Mount(session, share.Tag!, root + share.GuestPath, "virtiofs", flags: share.IsWritable ? 0 : ReadOnly);
        }

        if (options.Machine.MostForks is not null)
        {
            WriteProgram(session, root + "/run/vmm-fork", AgentBinary.Read());
            session.Tell(AgentFrameType.Forkable);
        }

        if (options.HasRoot)
        {
            session.Tell(AgentFrameType.Root, Strings(root));
        }
    }

    /// <summary>Tells a process of the guest that there will be no forks.</summary>
    public static void RefuseFork(AgentSession session, uint errno)
    {
        Span<byte> content = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(content, errno);
        session.Tell(AgentFrameType.Refused, content);
        session.Flush();
    }

    /// <summary>Lets a machine's processes go on that were held.</summary>
    /// <param name="number">The fork's, or 0 for the machine that was forked.</param>
    /// <param name="isAsked">A process of the guest asked for the forks.</param>
    public static void LetGo(AgentSession session, uint number, bool isAsked)
    {
        Span<byte> content = stackalloc byte[2 * sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(content, number);
        BinaryPrimitives.WriteUInt32LittleEndian(content[sizeof(uint)..], isAsked ? 1u : 0);
        session.Tell(AgentFrameType.Go, content);
        session.Flush();
    }

    /// <summary>A read-only file system, with an overlay in memory for the guest's changes.</summary>
    private static void MountOverlay(AgentSession session, string source, string type, string root)
    {
        const string Lower = "/vmm/lower", Changes = "/vmm/changes";
        Mount(session, source, Lower, type, AgentMountHow.Wait, ReadOnly);
        Mount(session, "changes", Changes, "tmpfs", options: "mode=755");
        MakeDirectory(session, $"{Changes}/upper");
        MakeDirectory(session, $"{Changes}/work");
        Mount(session, "root", root, "overlay", options: $"lowerdir={Lower},upperdir={Changes}/upper,workdir={Changes}/work");
    }

    private static void Mount(
        AgentSession session, string source, string target, string type, AgentMountHow how = AgentMountHow.None, uint flags = 0, string options = "")
    {
        byte[] strings = Strings(source, target, type, options);
        byte[] content = new byte[8 + strings.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(content, (uint)how);
        BinaryPrimitives.WriteUInt32LittleEndian(content.AsSpan(4), flags);
        strings.CopyTo(content, 8);
        session.Tell(AgentFrameType.Mount, content);
    }

    private static void MakeDirectory(AgentSession session, string path)
    {
        const uint Mode = 0x1ed;        // 755
        byte[] strings = Strings(path);
        byte[] content = new byte[sizeof(uint) + strings.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(content, Mode);
        strings.CopyTo(content, sizeof(uint));
        session.Tell(AgentFrameType.Mkdir, content);
    }

    private static void WriteProgram(AgentSession session, string path, ReadOnlySpan<byte> program)
    {
        const uint Mode = 0x1ed;        // 755
        byte[] strings = Strings(path);
        byte[] content = new byte[sizeof(uint) + strings.Length + program.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(content, Mode);
        strings.CopyTo(content, sizeof(uint));
        program.CopyTo(content.AsSpan(sizeof(uint) + strings.Length));
        session.Tell(AgentFrameType.File, content);
    }

    private static void Link(AgentSession session, string target, string path) =>
        session.Tell(AgentFrameType.Symlink, Strings(target, path));

    private static byte[] Strings(params ReadOnlySpan<string> strings)
    {
        var text = new StringBuilder();
        foreach (string each in strings)
        {
            text.Append(each).Append('\0');
        }

        return FileNames.ToBytes(text.ToString());
    }
}
