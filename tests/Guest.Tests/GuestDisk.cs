using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Vmm.Guest.Tests;

/// <summary>A copy of the reference root file system that a test may write to, and the host's view of it.</summary>
internal sealed class GuestDisk : IDisposable
{
    // One copy is taken out of the repository first, where holes are kept: with the emulated KVM host the
    // repository lies behind a file system that shows none.
    private static readonly Lazy<string> Template = new(() =>
    {
        string path = Path.Combine(Path.GetTempPath(), $"vmm-template-{Environment.ProcessId}.img");
        Tool.MustRun("cp", "--sparse=always", Paths.RootFileSystem, path);
        AppDomain.CurrentDomain.ProcessExit += (_, _) => File.Delete(path);
        return path;
    });

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-guest-").FullName;

    public GuestDisk()
    {
        Image = Path.Combine(_directory, "root.img");
        Tool.MustRun("cp", "--sparse=always", Template.Value, Image);
        Tool.MustRun("chmod", "644", Image);
    }

    public string Image { get; }

    /// <summary>Puts a shell script on a disk of its own, as the guest's init takes it with vmm.run=/dev/vdb.</summary>
    public string WriteScript(string script)
    {
        const int Sector = 512;
        byte[] text = Encoding.UTF8.GetBytes(script.ReplaceLineEndings("\n") + "\n");
        byte[] padded = new byte[(text.Length + Sector) / Sector * Sector];
        text.CopyTo(padded, 0);
        string path = Path.Combine(_directory, "script.img");
        File.WriteAllBytes(path, padded);
        return path;
    }

    /// <summary>SHA-256 of a file inside the image, or null when it is not there; in lower-case hexadecimal, as
    /// sha256sum prints it.</summary>
    public string? HashOf(string path)
    {
        string copy = Path.Combine(_directory, "dumped");
        File.Delete(copy);
        Tool.MustRun("debugfs", "-R", string.Create(CultureInfo.InvariantCulture, $"dump {path} {copy}"), Image);
        if (!File.Exists(copy))
        {
            return null;
        }

        using FileStream content = File.OpenRead(copy);
        return Convert.ToHexStringLower(SHA256.HashData(content));
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);
}
