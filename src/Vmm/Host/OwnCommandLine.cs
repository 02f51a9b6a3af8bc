namespace Vmm.Host;

/// <summary>How this process was started, for another like it.</summary>
/// <param name="Program">The program, or dotnet and the assembly.</param>
/// <param name="Arguments">What follows it.</param>
internal sealed record OwnCommandLine(IReadOnlyList<string> Program, IReadOnlyList<string> Arguments)
{
    /// <summary>Environment variable that names the program to start instead of vmm for each run of many; for tests.</summary>
    private const string Variable = "VMM_RUN_PROGRAM";

    /// <summary>The program that is vmm for runs that this one starts.</summary>
    public static IReadOnlyList<string> ForRuns() =>
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } other ? [other] : Read().Program;

    public static OwnCommandLine Read()
    {
        string[] words = Environment.GetCommandLineArgs();
        string program = Environment.ProcessPath ?? words[0];
        return new OwnCommandLine(words[0].EndsWith(".dll", StringComparison.Ordinal) && Path.GetFileName(program) == "dotnet"
            ? [program, Path.GetFullPath(words[0])]
            : [program], words[1..]);
    }
}
