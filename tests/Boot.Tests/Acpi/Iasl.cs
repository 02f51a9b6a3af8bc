using System.Diagnostics;

namespace Vmm.Boot.Tests.Acpi;

/// <summary>Intel's ACPI compiler, which also disassembles: Debian's package acpica-tools.</summary>
internal static class Iasl
{
    public static string? Path { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Select(directory => System.IO.Path.Combine(directory, "iasl")).FirstOrDefault(File.Exists);

    /// <summary>Runs it in a directory and returns all that it said.</summary>
    public static string Run(string directory, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(Path!, arguments)
        {
            WorkingDirectory = directory,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        output += errors.Result;
        Assert.True(process.ExitCode == 0, output);
        return output;
    }
}

/// <summary>A test that needs iasl and is shown as skipped where it is not installed.</summary>
public sealed class IaslTheoryAttribute : TheoryAttribute
{
    public IaslTheoryAttribute() => Skip = Iasl.Path is null ? "needs iasl (Debian: acpica-tools)" : null;
}
