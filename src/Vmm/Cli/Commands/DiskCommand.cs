using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Backends.Disks.Qcow2;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Text;

namespace Vmm.Cli.Commands;

/// <summary><c>vmm disk create PATH [SIZE]</c>: makes an image.</summary>
internal static class DiskCommand
{
    private const ulong SectorSize = 512;
    private const string Help = "vmm disk create";

    public static Command Create()
    {
        var command = new Command("disk", "Make disk images");
        command.Subcommands.Add(CreateCreate());
        return command;
    }

    private static Command CreateCreate()
    {
        var path = new Argument<string>("PATH") { Description = "The image; must not exist yet" };
        var size = new Argument<string>("SIZE")
        {
            Description = "Its size as the guest sees it: 10G; with --backing that image's if not given",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var format = new Option<string?>("--format", "-f")
        {
            Description = "raw or qcow2; if not given, qcow2 for a name that ends in .qcow2 or with --backing",
            HelpName = "raw|qcow2",
        };
        var backing = new Option<string?>("--backing", "-b")
        {
            Description = "Use this image as backing file, which is only read; it must be in the same folder",
            HelpName = "FILE",
        };
        var backingFormat = new Option<string?>("--backing-format", "-F")
        {
            Description = "The format of the backing file; if not given, qcow2 for a name that ends in .qcow2",
            HelpName = "raw|qcow2",
        };
        var command = new Command("create", "Make an empty image; it takes space only as it is written");
        command.Arguments.Add(path);
        command.Arguments.Add(size);
        command.Options.Add(format);
        command.Options.Add(backing);
        command.Options.Add(backingFormat);
        command.SetAction(result =>
        {
            Run(
                result.GetRequiredValue(path),
                result.GetValue(size) is { } text ? ParseSize(command, text) : null,
                result.GetValue(format),
                result.GetValue(backing),
                result.GetValue(backingFormat));
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Run(string path, ulong? size, string? format, string? backing, string? backingFormat)
    {
        if (size is null && backing is null)
        {
            throw new UsageException("SIZE is missing: vmm disk create PATH SIZE, for instance 10G", Help);
        }

        DiskFormat chosen = format is not null ? ParseFormat("--format", format)
            : backing is not null ? DiskFormat.Qcow2
            : DiskFormats.OfName(path);
        if (backing is not null && chosen == DiskFormat.Raw)
        {
            throw new UsageException("--backing: a raw image cannot have a backing file; give --format qcow2", Help);
        }

        if (backing is null && backingFormat is not null)
        {
            throw new UsageException("--backing-format: goes with --backing FILE", Help);
        }

        DiskFormat below = backing is null ? DiskFormat.Raw : FindBacking(path, backing, backingFormat);
        ulong bytes = size ?? SizeOf(Beside(path, backing!), below);
        if (chosen == DiskFormat.Qcow2)
        {
            Qcow2Image.Create(path, bytes, backing, below);
        }
        else
        {
            CreateRaw(path, bytes);
        }

        string hint = chosen == DiskFormats.OfName(path) ? "" : $"; open it with: --disk {path},format={chosen.Name()}";
        Stdout.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{path}: {chosen.Name()}, {ByteSize.Format(bytes)}{hint}"));
    }

    private static DiskFormat ParseFormat(string option, string format) => DiskFormats.Parse(format)
        ?? throw new UsageException($"{option} {format}: no such format; there are raw and qcow2", Help);

    private static ulong ParseSize(Command command, string size)
    {
        ulong bytes = CommandLineCheck.Read(command, () => ByteSize.Parse(size, "SIZE"));
        return bytes != 0 && bytes % SectorSize == 0
            ? bytes
            : throw new UsageException($"SIZE {size}: not a multiple of {SectorSize} bytes above zero", Help);
    }

    /// <summary>The size of an existing disk in bytes, in whole sectors.</summary>
    private static ulong SizeOf(string path, DiskFormat format)
    {
        try
        {
            using var loop = new EventLoop();
            using var engine = new FileEngine(loop);
            using HostFile file = DiskFiles.Open(path, readOnly: true, engine);
            ulong bytes = format == DiskFormat.Qcow2
                ? Qcow2Header.Read(file).Size
                : (file.Length + SectorSize - 1) / SectorSize * SectorSize;
            return bytes != 0 ? bytes : throw new UsageException($"--backing {path}: is empty; give SIZE");
        }
        catch (UsageException error)
        {
            throw new UsageException(error.Message.Replace("--disk ", "--backing ", StringComparison.Ordinal));
        }
    }

    private static string Beside(string path, string backing) =>
        Path.Combine(Path.GetDirectoryName(path) ?? "/", backing);

    /// <summary>An image names its backing file relative to its own directory, and that file's format: as the user gave it, or
    /// by the file's name, which its content must not contradict.</summary>
    private static DiskFormat FindBacking(string path, string backing, string? format)
    {
        string directory = Path.GetDirectoryName(path) ?? "/";
        string found = Beside(path, backing);
        if (!HostFile.TryStatus(found, out _))
        {
            string where = HostFile.RealPath(directory.Length > 0 ? directory : ".") ?? directory;
            throw new UsageException($"--backing {backing}: not in {where}, where {path} will look for it");
        }

        DiskFormat? given = format is null ? null : ParseFormat("--backing-format", format);
        DiskFormat result = given ?? DiskFormats.OfName(backing);
        return given != DiskFormat.Raw && ImageContent.Contradiction(found, result) is { } what
            ? throw new UsageException(
                $"--backing {backing}: {what}; say what it is: --backing-format qcow2, or --backing-format raw if the "
                + "guest is to see these bytes as they are")
            : result;
    }

    private static void CreateRaw(string path, ulong bytes) => NewFile.Create(path, fd =>
    {
        if (LibC.ftruncate(fd.Number, (long)bytes) != 0)
        {
            throw new UsageException($"{path}: {FileErrors.Describe(Marshal.GetLastPInvokeError())}");
        }
    });
}
