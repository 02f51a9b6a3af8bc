using System.Diagnostics;

namespace Vmm.Guest.Tests;

/// <summary>Programs of the host that the tests use: cp, e2fsck, debugfs, sha256sum.</summary>
internal static class Tool
{
    /// <summary>Runs a program to its end.</summary>
    /// <returns>Its exit code and what it printed to standard output and standard error.</returns>
    public static (int Code, string Output) Run(string program, params string[] arguments)
    {
        // e2fsck and debugfs are in a directory that a user's PATH may lack.
        string path = File.Exists($"/sbin/{program}") ? $"/sbin/{program}" : program;
        var start = new ProcessStartInfo(path, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start) ?? throw new InvalidOperationException(program);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.GetAwaiter().GetResult());
    }

    /// <summary>As <see cref="Run"/>, and anything but success is a failure.</summary>
    public static string MustRun(string program, params string[] arguments)
    {
        (int code, string output) = Run(program, arguments);
        Assert.True(code == 0, $"{program} {string.Join(' ', arguments)} ended with {code}: {output}");
        return output;
    }
}
