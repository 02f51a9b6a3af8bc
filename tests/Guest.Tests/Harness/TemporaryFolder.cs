using System.Globalization;
using System.Security.Cryptography;

namespace Vmm.Guest.Tests.Harness;

/// <summary>A directory for one test, gone at its end.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    // One copy is taken out of the repository first, where holes are kept: with the emulated KVM host the repository
    // lies behind a file system that shows none, and reading 128 MiB through it takes long.
    private static readonly Lazy<string> RootfsTemplate = new(() =>
    {
        string path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"vmm-rootfs-{Environment.ProcessId}.img");
        CopySparse(Product.Rootfs, path);
        AppDomain.CurrentDomain.ProcessExit += (_, _) => File.Delete(path);
        return path;
    });

    public string Path { get; } = Directory.CreateTempSubdirectory("vmm-guest-").FullName;

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public string Write(string name, ReadOnlySpan<byte> bytes)
    {
        File.WriteAllBytes(this[name], bytes);
        return this[name];
    }

    /// <summary>A file of zeros that takes no room.</summary>
    public string WriteSparse(string name, long length)
    {
        using FileStream file = File.Create(this[name]);
        file.SetLength(length);
        return this[name];
    }

    /// <summary>A root file system to write to.</summary>
    public string CopyOfRootfs(string name = "rootfs.img")
    {
        CopySparse(RootfsTemplate.Value, this[name]);
        return this[name];
    }

    /// <summary>Every file with its length, times, mode and content: equal before and after if nothing was
    /// touched.</summary>
    public string Inventory()
    {
        IEnumerable<string> lines = new DirectoryInfo(Path).GetFileSystemInfos("*", SearchOption.AllDirectories)
            .OrderBy(entry => entry.FullName, StringComparer.Ordinal)
            .Select(entry => string.Create(
                CultureInfo.InvariantCulture,
                $"{entry.FullName} {entry.UnixFileMode} {entry.LastWriteTimeUtc:O} {ContentOf(entry)}"));
        return string.Join('\n', lines);
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);

    private static void CopySparse(string from, string to)
    {
        (int code, string said) = HostTool.Run("cp", "--sparse=always", from, to);
        Assert.True(code == 0, said);
        File.SetUnixFileMode(to, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    private static string ContentOf(FileSystemInfo entry)
    {
        if (entry is not FileInfo file)
        {
            return "directory";
        }

        // A sparse file of many gigabytes is not worth reading: its length and time say enough.
        const long Small = 1 << 20;
        return file.Length > Small
            ? file.Length.ToString(CultureInfo.InvariantCulture)
            : file.Length + " " + Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file.FullName)));
    }
}
