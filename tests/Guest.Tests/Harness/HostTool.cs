using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;

namespace Vmm.Guest.Tests.Harness;

/// <summary>Programs of the host that look at what a guest left.</summary>
internal static class HostTool
{
    /// <summary>e2fsck's exit codes up to this one mean: clean, or repaired (e2fsck(8)).</summary>
    public const int Repaired = 1;

    public static (int Code, string Said) Run(string program, params IEnumerable<string> arguments)
    {
        // e2fsprogs are in a directory that is not on everybody's PATH.
        string path = File.Exists("/usr/sbin/" + program) ? "/usr/sbin/" + program : program;
        var start = new ProcessStartInfo(path, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        string said = output + error.GetAwaiter().GetResult();
        process.WaitForExit();
        return (process.ExitCode, said);
    }

    /// <summary>An ext4 image that holds a directory's content.</summary>
    public static void MakeExt4(string image, long bytes, string? directory = null)
    {
        using (FileStream file = File.Create(image))
        {
            file.SetLength(bytes);
        }

        (int code, string said) = Run(
            "mke2fs", [.. (string[])["-q", "-t", "ext4", "-F"], .. directory is null ? [] : (string[])["-d", directory], image]);
        Assert.True(code == 0, said);
    }

    /// <summary>Runs it and asserts that it succeeds.</summary>
    public static void Do(string program, params IEnumerable<string> arguments)
    {
        (int code, string said) = Run(program, arguments);
        Assert.True(code == 0, $"{program} ended with {code}:\n{said}");
    }

    /// <summary>Asserts that a file system has no error at all, journal included.</summary>
    public static void AssertClean(string image)
    {
        (int code, string said) = Run("e2fsck", "-f", "-n", image);
        Assert.True(code == 0, $"e2fsck -fn of {image} ended with {code}:\n{said}");
    }

    /// <summary>SHA-256 of a file in an ext4 image, in small hexadecimal digits as sha256sum prints it.</summary>
    public static string Sha256InImage(string image, string path, string scratch)
    {
        File.Delete(scratch);
        (_, string said) = Run("debugfs", "-R", string.Create(CultureInfo.InvariantCulture, $"dump {path} {scratch}"), image);
        Assert.True(File.Exists(scratch), said);
        using FileStream file = File.OpenRead(scratch);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }
}
