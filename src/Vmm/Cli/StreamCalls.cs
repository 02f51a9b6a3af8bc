using Vmm.Host;
using Vmm.Run;
using Vmm.Run.Exec;

namespace Vmm.Cli;

/// <summary>What <c>vmm exec</c> and <c>vmm attach</c> say at their end.</summary>
internal static class StreamCalls
{
    /// <returns>The exit code.</returns>
    public static int Run(StreamCall call)
    {
        RunVerdict verdict;
        try
        {
            using var run = new StreamRun(call);
            verdict = run.Run();
        }
        catch (HostException error)
        {
            Stderr.WriteLine($"vmm: {error.Message}");      // it names the machine
            return RunVerdict.VmmFailed;
        }

        if (verdict.Message is { } message)
        {
            Stderr.WriteLine($"vmm: {call.Name}: {message}");
        }

        return verdict.Code;
    }
}
