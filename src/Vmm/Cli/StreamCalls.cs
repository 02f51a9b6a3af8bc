using Vmm.Host;
using Vmm.Run;
using Vmm.Run.Exec;

namespace Vmm.Cli;

/// <summary>What <c>vmm exec</c> and <c>vmm attach</c> say at their end.</summary>
internal static class StreamCalls
{
    /// <param name="read">Reads the command line, and finds the machine.</param>
    /// <returns>The exit code.</returns>
    public static int Run(Func<StreamCall> read)
    {
        StreamCall call;
        RunVerdict verdict;
        try
        {
            call = read();
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
