using System.CommandLine;
using Vmm.Backends.Disks;
using Vmm.Backends.Shares;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Run.Roots;

namespace Vmm.Cli.Commands;

/// <summary>The options of <c>vmm run</c> for the guest's root file system.</summary>
internal sealed class RunRootOptions
{
    /// <summary>Directories where the guest has file systems of its own.</summary>
    private static readonly string[] Fresh = ["/tmp", "/run", "/dev", "/proc", "/sys"];

    private readonly Option<string> _root = new("--root")
    {
        Description = "The guest's root file system: a directory (if not given: this host's /, read-only under an overlay in memory), "
            + "a disk image, a tar archive, or none for busybox alone; the guest's changes are discarded",
        HelpName = "none|DIRECTORY|FILE",
    };

    private readonly Option<bool> _pack = new("--pack")
    {
        Description = "Pack the root directory into an image instead of sharing it: for kernels without virtiofs or overlayfs",
    };

    private readonly Option<string> _keep = new("--keep")
    {
        Description = "Keep the changes to the root image in this file, and start with those that it has",
        HelpName = "PATH",
    };

    private readonly Option<bool> _rw = new("--rw")
    {
        Description = "With a shared directory as root: let the command write to this working directory, which is under the same path there",
    };

    public IEnumerable<Option> All => [_root, _pack, _keep, _rw];

    /// <exception cref="UsageException">They contradict each other, or this host cannot do it.</exception>
    public RunRoot Read(ParseResult result)
    {
        bool isPacked = result.GetValue(_pack);
        RunRoot root = RunRoot.Choose(result.GetValue(_root), isPacked, Virtiofsd.IsInstalled) with
        {
            Keep = result.GetValue(_keep),
            IsWorkWritable = result.GetValue(_rw),
        };
        if (isPacked && root.Kind != RootKind.PackedDirectory)
        {
            throw new UsageException("--pack: there is no directory to pack; give one with --root DIRECTORY");
        }

        if (root.IsWorkWritable && root.Kind != RootKind.Share)
        {
            throw new UsageException(root.Kind == RootKind.PackedDirectory
                ? $"--rw: needs a root that is shared, not packed{(root.WhyPacked.Length == 0 ? "" : $": {root.WhyPacked}")}"
                : "--rw: only with a directory as root; --share .:/work,rw shares one with any other");
        }

        return root.Keep is null || root.Kind == RootKind.Disk
            ? root
            : throw new UsageException("--keep: there is no root image whose changes could be kept; give one with --root FILE");
    }

    /// <summary>The machine with the devices that the root needs, except for a root that is still to be packed.</summary>
    public static MachineSpec AddTo(MachineSpec machine, RunRoot root) => root.Kind switch
    {
        RootKind.Share => machine with { Shares = [.. Shares(root, WorkingDirectory.Path), .. machine.Shares] },
        RootKind.Disk => machine with
        {
            Disks =
            [
                new DiskSpec(root.Path)
                {
                    Format = DiskFormats.OfName(root.Path),
                    Ephemeral = root.Keep is null,
                    Overlay = root.Keep,
                },
                .. machine.Disks,
            ],
        },
        _ => machine,
    };

    /// <summary>The directory in which the command starts by default: the current one, if the guest has it.</summary>
    public static string? WorkDirectory(RunRoot root) => root.Kind switch
    {
        RootKind.Share => WorkingDirectory.Path,
        RootKind.PackedDirectory when Path.GetFullPath(root.Path) == "/" => WorkingDirectory.Path,
        _ => null,
    };

    /// <summary>The share that becomes /, and the working directory if it is not visible there, or is to be writable.
    /// </summary>
    internal static IEnumerable<ShareSpec> Shares(RunRoot root, string here)
    {
        yield return new ShareSpec(root.Path, "/", IsWritable: false, RunRoot.Tag);
        bool isHidden = Path.GetFullPath(root.Path) != "/" || Fresh.Any(each => $"{here}/".StartsWith($"{each}/", StringComparison.Ordinal));
        if (here != "/" && (root.IsWorkWritable || isHidden))
        {
            yield return new ShareSpec(here, here, root.IsWorkWritable, "vmm-work");
        }
    }
}
