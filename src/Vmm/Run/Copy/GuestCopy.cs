using Vmm.Control;
using Vmm.Host;

namespace Vmm.Run.Copy;

/// <summary>Files between this host and a machine of <c>vmm run</c>, by the guest's own tar.</summary>
/// <param name="path">Of the machine's control socket.</param>
/// <param name="name">What the user calls the machine.</param>
/// <param name="leftOut">Hears of what is left out.</param>
internal sealed class GuestCopy(string path, string name, Action<string> leftOut)
{
    private const uint NotFound = 127;

    /// <summary>Copies a file or tree of this host into the guest: into a directory that is there, else under a new name.</summary>
    /// <param name="source">On this host.</param>
    /// <param name="destination">In the guest; absolute.</param>
    public void Into(string source, string destination)
    {
        ControlText.Check(source);
        string from = Path.GetFullPath(source).TrimEnd('/');
        if (new FileInfo(from).LinkTarget is null && !Path.Exists(from))
        {
            throw new UsageException($"{source}: no such file or directory");
        }

        using var client = ControlClient.ForLongWork(path, name);
        bool isInside = IsDirectory(client, destination);
        (string directory, string called) = isInside ? (destination, Path.GetFileName(from)) : Split(destination);
        if (called.Length == 0)
        {
            throw new UsageException($"{source}: the root directory has no name to copy it under");
        }

        using var tar = new GuestProcess(client, Tar("-x", "-p", "-f", "-", "-C", directory));
        int leftBehind;
        try
        {
            using var archive = new ArchiveBuilder(tar, leftOut);
            archive.Add(from, called);
            leftBehind = archive.NotText;
        }
        catch (HostException error) when (tar.Exit is not null)
        {
            throw Failed(tar, error.Message);
        }

        tar.Finish();
        Check(tar);
        CopyNames.Check(source, leftBehind);
    }

    /// <summary>Copies a file or tree of the guest to this host: into a directory that is there, else under a new name.</summary>
    /// <param name="source">In the guest; absolute.</param>
    /// <param name="destination">On this host.</param>
    /// <param name="most">Bytes of all of it at most.</param>
    public void OutOf(string source, string destination, long most)
    {
        ControlText.Check(destination);
        string to = Path.GetFullPath(destination).TrimEnd('/');
        (string directory, string called) = Split(source);
        if (called.Length == 0)
        {
            throw new UsageException($"{name}:/: name something below it");
        }

        bool isInside = Directory.Exists(to);
        if (destination.EndsWith('/') && !isInside)
        {
            throw new UsageException($"{destination}: there is no such directory");
        }

        if (ArchiveExtractor.IsSpecial(to))
        {
            throw new UsageException($"{destination}: is a device, pipe or socket, and cp replaces files; 'vmm exec {name} -- cat {source}' writes to one");
        }

        string target = isInside ? to : Path.GetDirectoryName(to)!;
        if (!Directory.Exists(target))
        {
            throw new UsageException($"{target}: there is no such directory");
        }

        using var client = ControlClient.ForLongWork(path, name);
        using var tar = new GuestProcess(client, Tar("-c", "-f", "-", "-C", directory, "./" + called));
        var extractor = new ArchiveExtractor(target, called, isInside ? called : Path.GetFileName(to), leftOut);
        try
        {
            extractor.Extract(new ArchiveGuard(tar, most));
        }
        catch (ArchiveException error) when (tar.Exit is null or { Value: 0 })
        {
            throw new HostException($"{name}:{source}: refused: {error.Message}");
        }
        catch (ArchiveException error)
        {
            throw Failed(tar, error.Message);
        }

        tar.Finish();
        Check(tar);
        if (extractor.Count == 0)
        {
            throw new HostException($"{name}:{source}: nothing came");
        }

        CopyNames.Check($"{name}:{source}", extractor.NotText);
    }

    private static ExecArguments Tar(params string[] arguments) => new() { Args = ["tar", .. arguments], Cwd = "/" };

    private static bool IsDirectory(ControlClient client, string path)
    {
        using var test = new GuestProcess(client, new ExecArguments { Args = ["test", "-d", path], Cwd = "/" });
        test.Finish();
        return test.Exit is { How: "exit", Value: 0 };
    }

    private static (string Directory, string Name) Split(string path)
    {
        string plain = path.TrimEnd('/');
        int slash = plain.LastIndexOf('/');
        string last = plain[(slash + 1)..];
        return last is "." or ".."
            ? throw new UsageException($"{path}: ends in '{last}'; write the directory's own name")
            : (slash <= 0 ? "/" : plain[..slash], last);
    }

    private void Check(GuestProcess tar)
    {
        if (tar.Exit is not { How: "exit", Value: 0 })
        {
            throw Failed(tar, "tar did not end well");
        }

        if (tar.Complaint.Length > 0)
        {
            leftOut(tar.Complaint);
        }
    }

    private HostException Failed(GuestProcess tar, string why) => new(
        tar.Exit is { How: "exec" } or { Value: NotFound } ? $"{name}: the guest has no tar, which vmm cp needs there"
        : $"{name}: {(tar.Complaint.Length > 0 ? tar.Complaint : why)}");
}
