using System.Runtime.InteropServices;
using Vmm.Host;

namespace Vmm.Named;

/// <summary>The process that runs a machine with a name: signals to it, and its end. Its number is used only while the machine's lock
/// is taken, and by way of a pidfd, so it is never another process's.</summary>
internal sealed class MachineProcess : IDisposable
{
    // Between the lock and the number there is the start of a program.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly MachineFolder _folder;
    private readonly FileDescriptor _process;

    private MachineProcess(MachineFolder folder, FileDescriptor process) => (_folder, _process) = (folder, process);

    /// <returns>Null where the machine does not run.</returns>
    /// <param name="patience">For a process that has not written its number yet; 30 s if not given.</param>
    /// <exception cref="HostException">Its record cannot be read, or has no number of the process.</exception>
    public static MachineProcess? TryFind(MachineFolder folder, TimeSpan? patience = null)
    {
        long end = Environment.TickCount64 + (long)(patience ?? Patience).TotalMilliseconds;
        while (folder.IsRunning)
        {
            if (Environment.TickCount64 > end)
            {
                throw new HostException($"{folder.Name}: a process has its lock, and has not written its number into {MachineRecord.FileName}; "
                    + $"'fuser {folder.Path}/lock' finds it");
            }

            if (NumberOf(folder) is { } number)
            {
                var process = new FileDescriptor(LibC.pidfd_open(number));
                if (!process.IsInvalid && folder.IsRunning && NumberOf(folder) == number)
                {
                    return new MachineProcess(folder, process);
                }

                process.Dispose();
            }

            // Whoever starts it has the lock, and its process is not so far yet.
            Thread.Sleep(10);
        }

        return null;
    }

    /// <summary>As the process wrote it down; or, where the disk had no room for that, that of who listens at its control socket.</summary>
    private static int? NumberOf(MachineFolder folder)
    {
        MachineRecord record = MachineStore.ReadOrExplain(folder);
        return record.Pid != 0 && record.Boot == MachineRecord.BootOfHost ? record.Pid : UnixSocket.ListenerAt(folder.ControlPath(record));
    }

    /// <exception cref="HostException">It is not this user's.</exception>
    public void Signal(int signal)
    {
        if (LibC.pidfd_send_signal(_process.Number, signal) != 0
            && Marshal.GetLastPInvokeError() is var errno and not ErrnoException.ESRCH)
        {
            throw new HostException($"{_folder.Name}: {ErrnoException.Describe(errno)}");
        }
    }

    /// <summary>Waits until it has ended.</summary>
    /// <param name="patience">Infinite for as long as it takes.</param>
    /// <param name="stop">Readable when the wait is to end; -1 for nothing.</param>
    /// <returns>False when the time was over, or the wait is to end.</returns>
    public bool WaitForEnd(TimeSpan patience, int stop = -1) => ProcessEnd.Wait(_process, patience, stop);

    public void Dispose() => _process.Dispose();
}
