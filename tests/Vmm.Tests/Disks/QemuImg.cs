using System.Diagnostics;

namespace Vmm.Tests.Disks;

/// <summary>QEMU's own tools check images.</summary>
internal static class QemuImg
{
    public static bool IsThere => File.Exists("/usr/bin/qemu-img") && File.Exists("/usr/bin/qemu-io");

    public static (int Code, string Output) Run(params string[] arguments) => RunTool("/usr/bin/qemu-img", arguments);

    public static (int Code, string Output) RunIo(params string[] arguments) => RunTool("/usr/bin/qemu-io", arguments);

    public static void Create(string path, string options, string size, params string[] more)
    {
        (int code, string output) = Run(["create", "-q", "-f", "qcow2", "-o", options, .. more, path, size]);
        Assert.True(code == 0, output);
    }

    /// <summary>Neither corruptions nor leaks.</summary>
    public static void CheckIsClean(string path)
    {
        (int code, string output) = Run("check", path);
        Assert.True(code == 0, output);
    }

    /// <summary>Leaks (code 3) are allowed.</summary>
    public static void CheckIsSound(string path)
    {
        (int code, string output) = Run("check", path);
        Assert.True(code is 0 or 3, output);
    }

    public static void IsSame(string qcow2, string raw)
    {
        (int code, string output) = Run("compare", "-f", "qcow2", "-F", "raw", qcow2, raw);
        Assert.True(code == 0, output);
    }

    private static (int Code, string Output) RunTool(string tool, string[] arguments)
    {
        var start = new ProcessStartInfo(tool) { RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }
}

/// <summary>A test that needs qemu-img and qemu-io; without them it is shown as skipped.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class QemuFactAttribute : FactAttribute
{
    public QemuFactAttribute() => Skip = QemuImg.IsThere ? null : "qemu-utils is not installed";
}

/// <inheritdoc cref="QemuFactAttribute"/>
[AttributeUsage(AttributeTargets.Method)]
public sealed class QemuTheoryAttribute : TheoryAttribute
{
    public QemuTheoryAttribute() => Skip = QemuImg.IsThere ? null : "qemu-utils is not installed";
}
