using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Vmm.Backends.Disks;
using Vmm.Host;
using Vmm.Run.Results;

namespace Vmm.Run.Many;

/// <summary>One item: a vmm process, whose streams and result go to files without a name. It is killed when this process ends
/// for any reason.</summary>
internal sealed class ChildRun : IDisposable
{
    private readonly FileDescriptor _output, _result, _end;
    private readonly long _began = Stopwatch.GetTimestamp();
    private readonly int _pid;

    private ChildRun(RunItem item, int pid, FileDescriptor output, FileDescriptor result, FileDescriptor end)
    {
        (Item, _pid, _output, _result, _end) = (item, pid, output, result, end);
    }

    public RunItem Item { get; }

    /// <summary>Readable when it has ended. (Not a pipe that it has open: processes that it left behind would have that open,
    /// too.)</summary>
    public int End => _end.Number;

    public TimeSpan Elapsed => Stopwatch.GetElapsedTime(_began);

    /// <param name="more">Options besides the item's own.</param>
    /// <exception cref="HostException">It cannot be started.</exception>
    public static ChildRun Start(RunItem item, params IReadOnlyList<string> more)
    {
        FileDescriptor output = DiskFiles.CreateNameless(), result = DiskFiles.CreateNameless();
        string[] arguments =
        [
            "--pdeathsig", "KILL", "--", .. item.Vmm, .. more,
            RunReports.OneOfMany, string.Create(CultureInfo.InvariantCulture, $"/proc/{Environment.ProcessId}/fd/{result.Number}"), "--", .. item.Command,
        ];
        int pid = ChildProcess.Start("setpriv", arguments, output.Number, output.Number, ownGroup: true, output.Number)
            ?? throw new HostException("--each: setpriv is not installed; it is in the package util-linux");
        int end = LibC.pidfd_open(pid);
        if (end >= 0)
        {
            return new ChildRun(item, pid, output, result, new FileDescriptor(end));
        }

        int errno = Marshal.GetLastPInvokeError();
        ChildProcess.KillGroup(pid);
        ChildProcess.Wait(pid);
        throw new ErrnoException("pidfd_open", errno);
    }

    /// <summary>The resident memory of its vmm, in bytes (statm of proc(5)).</summary>
    public ulong Resident => HostMemory.Resident(_pid);

    /// <summary>Asks it to end.</summary>
    public void Stop() => _ = LibC.kill(-_pid, LibC.SIGTERM);

    /// <summary>Kills it, with all processes that it started.</summary>
    public void Kill() => ChildProcess.KillGroup(_pid);

    /// <summary>Its result, after its end.</summary>
    public RunResult Finish()
    {
        // A vmm that was killed may leave processes in its group. They are killed before it is waited for: afterwards its number
        // may belong to another process.
        Kill();
        int code = ChildProcess.Wait(_pid) ?? RunVerdict.VmmFailed;
        return RunEnd.Of(Item, $"/proc/self/fd/{_result.Number}", Output, code, Elapsed);
    }

    /// <summary>The file with its standard output and standard error; as long as this object is not disposed.</summary>
    public string Output => $"/proc/self/fd/{_output.Number}";

    public void Dispose()
    {
        _output.Dispose();
        _result.Dispose();
        _end.Dispose();
    }
}
