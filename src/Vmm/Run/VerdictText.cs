using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Run;

/// <summary>The message at the end of a run, on standard error.</summary>
internal static class VerdictText
{
    /// <param name="findings">What the guest was doing; empty where that was not examined.</param>
    /// <param name="complaint">The complaint that decided the result; null for none.</param>
    /// <param name="console">The last lines of its console; null where the console was shown already.</param>
    public static void Write(RunVerdict verdict, IReadOnlyList<string> findings, IReadOnlyList<string>? console, RunComplaint? complaint)
    {
        if (verdict.Message is not null)
        {
            Stderr.WriteLine($"vmm: {verdict.Message}");
        }

        foreach (string line in findings)
        {
            Stderr.WriteLine($"vmm: {line}");
        }

        if (console is null || (complaint is null && !verdict.ShowConsole))
        {
            return;
        }

        IReadOnlyList<string> lines = complaint?.Around ?? console;
        Stderr.WriteLine(lines.Count == 0 ? "vmm: the guest wrote nothing to its console"
            : complaint is not null ? "vmm: the guest's console around it:"
            : "vmm: the last lines of the guest's console:");
        foreach (string line in lines)
        {
            Stderr.WriteLine($"  {line}");
        }
    }
}
