namespace Vmm.Host;

/// <summary>How this process was started, for another like it.</summary>
/// <param name="Program">The program, or dotnet and the assembly.</param>
/// <param name="Arguments">What follows it.</param>
internal sealed record OwnCommandLine(IReadOnlyList<string> Program, IReadOnlyList<string> Arguments)
{
    public static OwnCommandLine Read()
    {
        string[] words = Environment.GetCommandLineArgs();
        string program = Environment.ProcessPath ?? words[0];
        return new OwnCommandLine(words[0].EndsWith(".dll", StringComparison.Ordinal) && Path.GetFileName(program) == "dotnet"
            ? [program, words[0]]
            : [program], words[1..]);
    }
}
