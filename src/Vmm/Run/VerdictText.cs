using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Run;

/// <summary>What people are told at the end of a run, on standard error.</summary>
internal static class VerdictText
{
    /// <param name="findings">What the guest was doing; empty where nobody looked.</param>
    /// <param name="console">The last lines of its console; null where they were shown all along.</param>
    public static void Write(RunVerdict verdict, IReadOnlyList<string> findings, IReadOnlyList<string>? console, ComplaintList complaints)
    {
        if (verdict.Message is not null)
        {
            Stderr.WriteLine($"vmm: {verdict.Message}");
        }

        foreach (string line in findings)
        {
            Stderr.WriteLine($"vmm: {line}");
        }

        bool isComplaint = verdict.Outcome == RunOutcome.Complained;
        if (console is null || (!isComplaint && !verdict.ShowConsole))
        {
            return;
        }

        IReadOnlyList<string> lines = isComplaint ? complaints.ToResults()[0].Around : console;
        Stderr.WriteLine(lines.Count == 0 ? "vmm: the guest said nothing on its console"
            : isComplaint ? "vmm: the guest's console around it:"
            : "vmm: the last lines of the guest's console:");
        foreach (string line in lines)
        {
            Stderr.WriteLine($"  {line}");
        }
    }
}
