using System.Diagnostics;

namespace Vmm.Tests.Disks;

/// <summary>A block device over a file (losetup(8)), gone when disposed.</summary>
internal sealed class LoopDevice : IDisposable
{
    private LoopDevice(string path) => Path = path;

    public string Path { get; }

    public static bool IsPossible { get; } = Try();

    /// <param name="options">Such as <c>--read-only</c>, <c>--sector-size 4096</c>.</param>
    public static LoopDevice Create(string file, params string[] options)
    {
        (int code, string output) = Run(["--find", "--show", .. options, file]);
        return code == 0 ? new LoopDevice(output.Trim()) : throw new InvalidOperationException(output);
    }

    public void Dispose() => Run(["--detach", Path]);

    private static bool Try()
    {
        string file = System.IO.Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(file, new byte[1 << 20]);
            Create(file, "--sector-size", "4096").Dispose();
            return true;
        }
        catch (Exception error) when (error is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return false;
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static (int Code, string Output) Run(string[] arguments)
    {
        var start = new ProcessStartInfo("losetup", arguments) { RedirectStandardError = true, RedirectStandardOutput = true };
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd() + process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }
}

/// <summary>A test that needs loop devices, which take root; without them it is shown as skipped.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class LoopFactAttribute : FactAttribute
{
    public LoopFactAttribute() => Skip = LoopDevice.IsPossible ? null : "loop devices cannot be made here";
}
