using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Host;

namespace Vmm.Named;

/// <summary>The process that runs a machine with a name: signals to it, and its end. Its number is used only while the machine's lock
/// is taken, and by way of a pidfd, so it is never another process's.</summary>
internal sealed unsafe class MachineProcess : IDisposable
{
    private readonly MachineFolder _folder;
    private readonly FileDescriptor _process;

    private MachineProcess(MachineFolder folder, FileDescriptor process) => (_folder, _process) = (folder, process);

    /// <returns>Null where the machine does not run.</returns>
    /// <exception cref="HostException">Its record cannot be read.</exception>
    public static MachineProcess? TryFind(MachineFolder folder)
    {
        while (folder.IsRunning)
        {
            MachineRecord record = MachineStore.ReadOrExplain(folder);
            if (record.Pid == 0 || record.Boot != MachineRecord.BootOfHost)
            {
                Thread.Sleep(10);       // whoever starts it has the lock, and the process has not written its number yet
                continue;
            }

            var process = new FileDescriptor(LibC.pidfd_open(record.Pid));
            if (!process.IsInvalid && folder.IsRunning && MachineStore.ReadOrExplain(folder).Pid == record.Pid)
            {
                return new MachineProcess(folder, process);
            }

            process.Dispose();
            Thread.Sleep(10);
        }

        return null;
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
    public bool WaitForEnd(TimeSpan patience, int stop = -1)
    {
        long end = patience == Timeout.InfiniteTimeSpan ? long.MaxValue : Environment.TickCount64 + (long)patience.TotalMilliseconds;
        pollfd* polls = stackalloc pollfd[2];
        while (true)
        {
            polls[0] = new pollfd { fd = _process.Number, events = LibC.POLLIN };
            polls[1] = new pollfd { fd = stop, events = LibC.POLLIN };
            long left = end - Environment.TickCount64;

            // SAFETY: two structs on this stack.
            int ready = LibC.Poll(polls, 2, left > int.MaxValue ? -1 : (int)Math.Max(0, left));
            if (ready > 0 && polls[0].revents != 0)
            {
                return true;
            }

            if (ready == 0 || (ready > 0 && polls[1].revents != 0))
            {
                return false;
            }
        }
    }

    public void Dispose() => _process.Dispose();
}
