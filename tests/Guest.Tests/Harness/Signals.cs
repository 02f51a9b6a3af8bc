using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vmm.Guest.Tests.Harness;

/// <summary>Signals by number, to processes that the tests started.</summary>
internal static class Signals
{
    public const int SIGHUP = 1;
    public const int SIGINT = 2;
    public const int SIGQUIT = 3;
    public const int SIGKILL = 9;
    public const int SIGTERM = 15;
    public const int SIGSTOP = 19;
    public const int SIGTSTP = 20;
    public const int SIGXCPU = 24;

    public static void Send(Process process, int signal) => Send(process.Id, signal);

    /// <param name="pid">Of a process that the tests started.</param>
    public static void Send(int pid, int signal)
    {
        if (LibC.kill(pid, signal) != 0)
        {
            throw new InvalidOperationException($"kill {pid}: errno {Marshal.GetLastPInvokeError()}");
        }
    }

    /// <summary>For the end of a test, whatever became of it.</summary>
    public static void EndForCertain(Process process)
    {
        if (!process.HasExited)
        {
            process.Kill();
            process.WaitForExit();
        }

        process.Dispose();
    }
}
