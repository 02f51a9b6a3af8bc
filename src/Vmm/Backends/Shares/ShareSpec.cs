using System.Runtime.InteropServices;
using System.Text;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Backends.Shares;

/// <summary><c>--share HOST:GUEST[,rw][,tag=NAME]</c>, checked as far as that goes without looking at the host. The last
/// <c>:/</c> is where the guest's path begins; a comma in either path is written twice.</summary>
/// <param name="HostPath">A directory of this host, as given.</param>
/// <param name="GuestPath">Where the guest is to mount it; absolute.</param>
/// <param name="IsWritable">May the guest write?</param>
/// <param name="Tag">By which the guest mounts it; null for one by its position.</param>
internal sealed record ShareSpec(string HostPath, string GuestPath, bool IsWritable, string? Tag)
{
    /// <summary>The machine is restored, and its guest has the share mounted.</summary>
    public bool IsRestored { get; init; }

    /// <exception cref="UsageException">An option is unknown or wrong, or a path cannot be one.</exception>
    public static ShareSpec Parse(string text)
    {
        List<string> parts = OptionText.Split(text);
        int colon = parts[0].LastIndexOf(":/", StringComparison.Ordinal);
        if (colon <= 0)
        {
            throw Wrong(text, "takes a directory of this host and an absolute path in the guest, for instance ./src:/src");
        }

        var spec = new ShareSpec(parts[0][..colon], parts[0][(colon + 1)..], IsWritable: false, Tag: null);
        foreach (string part in parts.Skip(1))
        {
            spec = OptionText.Parse(part) switch
            {
                ("rw", null) => spec with { IsWritable = true },
                ("ro", null) => spec with { IsWritable = false },
                ("tag", { Length: > 0 } tag) when Encoding.UTF8.GetByteCount(tag) <= FileSystem.MostTagBytes
                    && !tag.Any(char.IsControl) => spec with { Tag = tag },
                ("tag", _) => throw Wrong(text, $"tag= takes 1 to {FileSystem.MostTagBytes} bytes"),
                ("rw" or "ro", _) => throw Wrong(text, $"'{part[..2]}' takes no value"),
                (var option, _) => throw Wrong(
                    text, $"no such option '{option}'; there are: ro (if not given), rw, tag=NAME. A comma in a path is written twice"),
            };
        }

        return spec;
    }

    /// <summary>Gives those without a tag one by their position, <c>share0</c> and so on, and checks that none is given
    /// twice.</summary>
    /// <exception cref="UsageException">One is.</exception>
    public static IReadOnlyList<ShareSpec> WithTags(IReadOnlyList<ShareSpec> shares)
    {
        ShareSpec[] tagged = [.. shares.Select(static (share, i) => share with { Tag = share.Tag ?? $"share{i}" })];
        return tagged.GroupBy(static share => share.Tag).FirstOrDefault(static same => same.Count() > 1) is { } twice
            ? throw new UsageException($"--share {twice.First().HostPath}: two shares have the tag '{twice.Key}'; tag=NAME gives another")
            : tagged;
    }

    /// <summary>The directory, without links.</summary>
    /// <exception cref="UsageException">There is none that can be read.</exception>
    public string FindDirectory()
    {
        string path = Path.GetFullPath(HostPath);
        if (!HostFile.TryStatus(path, out Statx status))
        {
            throw new UsageException($"--share {HostPath}: there is no such directory");
        }

        if ((status.Mode & LibC.S_IFMT) != LibC.S_IFDIR)
        {
            throw new UsageException($"--share {HostPath}: not a directory; share the one that it is in");
        }

        // virtiofsd could, and the guest would find nothing.
        return LibC.access(path, LibC.R_OK | LibC.X_OK) == 0
            ? path
            : throw new UsageException($"--share {HostPath}: {ErrnoException.Describe(Marshal.GetLastPInvokeError())}");
    }

    private static UsageException Wrong(string text, string why) => new($"--share {text}: {why}");
}
