using System.CommandLine;
using System.Globalization;
using Vmm.Boot;
using Vmm.Disks.Qcow2;
using Vmm.Options;

namespace Vmm.Commands;

/// <summary><c>vmm disk create PATH SIZE</c>: makes an image.</summary>
internal static class DiskCommand
{
    private const ulong SectorSize = 512;

    public static Command Create()
    {
        var command = new Command("disk", "Make disk images");
        command.Subcommands.Add(CreateCreate());
        return command;
    }

    private static Command CreateCreate()
    {
        var path = new Argument<string>("PATH") { Description = "The image; must not exist yet" };
        var size = new Argument<string>("SIZE") { Description = "Its size as the guest sees it: 10G" };
        var format = new Option<string?>("--format", "-f")
        {
            Description = "raw or qcow2; if not given, qcow2 where the name ends so",
            HelpName = "raw|qcow2",
        };
        var backing = new Option<string?>("--backing", "-b")
        {
            Description = "Stand on this image, which is only read: in the same folder, qcow2 where its name ends so",
            HelpName = "FILE",
        };
        var command = new Command("create", "Make an empty image; it takes room only as it is written");
        command.Arguments.Add(path);
        command.Arguments.Add(size);
        command.Options.Add(format);
        command.Options.Add(backing);
        command.SetAction(result =>
        {
            Run(
                result.GetRequiredValue(path),
                result.GetRequiredValue(size),
                result.GetValue(format),
                result.GetValue(backing));
            return ExitCodes.Success;
        });
        return command;
    }

    private static void Run(string path, string size, string? format, string? backing)
    {
        ulong bytes = ByteSize.Parse(size, "SIZE");
        if (bytes == 0 || bytes % SectorSize != 0)
        {
            throw new UsageException($"SIZE {size}: not a multiple of {SectorSize} bytes above zero");
        }

        bool qcow2 = format switch
        {
            null => IsQcow2(path) || backing is not null,
            "qcow2" => true,
            "raw" => false,
            _ => throw new UsageException($"--format {format}: no such format; there are raw and qcow2"),
        };
        if (qcow2)
        {
            CheckBacking(path, backing);
            Qcow2Image.Create(
                path, bytes, backing, backing is not null && IsQcow2(backing) ? DiskFormat.Qcow2 : DiskFormat.Raw);
        }
        else if (backing is not null)
        {
            throw new UsageException("--backing: a raw image cannot stand on another; give --format qcow2");
        }
        else
        {
            CreateRaw(path, bytes);
        }

        Stdout.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{path}: {(qcow2 ? "qcow2" : "raw")}, {ByteSize.Format(bytes)}"));
    }

    /// <summary>An image names what it stands on as seen from its own directory.</summary>
    private static void CheckBacking(string path, string? backing)
    {
        string directory = Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/";
        if (backing is not null && !Path.Exists(Path.Combine(directory, backing)))
        {
            throw new UsageException($"--backing {backing}: not in {directory}, from where {path} will look for it");
        }
    }

    private static bool IsQcow2(string path) => path.EndsWith(".qcow2", StringComparison.Ordinal);

    private static void CreateRaw(string path, ulong bytes)
    {
        bool made = false;
        try
        {
            using var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write);
            made = true;
            file.SetLength((long)bytes);
        }
        catch (Exception error) when (FileErrors.Describe(error) is not null)
        {
            if (made)
            {
                File.Delete(path);
            }

            throw new UsageException(
                !made && File.Exists(path) ? $"{path}: is there already; remove it first, or give another name"
                : $"{path}: {FileErrors.Describe(error)}");
        }
    }
}
