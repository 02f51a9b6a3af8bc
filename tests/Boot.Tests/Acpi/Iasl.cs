using System.Diagnostics;

namespace Vmm.Boot.Tests.Acpi;

/// <summary>Intel's ACPI compiler, which also disassembles, and the interpreter as a program: Debian's package
/// acpica-tools.</summary>
internal static class Iasl
{
    public static string? Compiler { get; } = Find("iasl");

    public static string? Interpreter { get; } = Find("acpiexec");

    /// <summary>Runs the compiler in a directory and returns all that it said.</summary>
    public static string Run(string directory, params string[] arguments) => Run(directory, Compiler!, arguments);

    /// <summary>Loads DSDT.dat of a directory and has the interpreter do one of its commands.</summary>
    public static string Exec(string directory, string command) =>
        Run(directory, Interpreter!, "-b", command, "DSDT.dat");

    private static string Run(string directory, string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = directory,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        output += errors.Result;
        Assert.True(process.ExitCode == 0, output);
        return output;
    }

    private static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .Select(directory => Path.Combine(directory, program)).FirstOrDefault(File.Exists);
}

/// <summary>A test that needs iasl and is shown as skipped where it is not installed.</summary>
public sealed class IaslTheoryAttribute : TheoryAttribute
{
    public IaslTheoryAttribute() => Skip = Iasl.Compiler is null ? "needs iasl (Debian: acpica-tools)" : null;
}

/// <summary>A test that needs acpiexec and is shown as skipped where it is not installed.</summary>
public sealed class AcpiExecTheoryAttribute : TheoryAttribute
{
    public AcpiExecTheoryAttribute() =>
        Skip = Iasl.Interpreter is null ? "needs acpiexec (Debian: acpica-tools)" : null;
}
