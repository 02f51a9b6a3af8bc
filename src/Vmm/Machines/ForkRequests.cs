using System.Globalization;
using Vmm.Devices.Legacy;
using Vmm.Host;

namespace Vmm.Machines;

/// <summary>Handles forks that the guest asks for, by the port or through the agent: starts a process 'vmm fork' for them. One request
/// at a time. On the event loop's thread.</summary>
/// <param name="control">Path of the machine's control socket.</param>
/// <param name="most">How many forks the guest may ask for in all; 0 for none.</param>
internal sealed class ForkRequests(EventLoop loop, string control, int most) : IDisposable
{
    private const int NotPermitted = 1, InputOutput = 5, TryAgain = 11, Busy = 16, Invalid = 22;

    private Action<uint>? _settle;
    private FileDescriptor? _process;
    private EventLoop.Watch? _watch;
    private readonly bool _isForbidden = most == 0;
    private int _left = most;

    /// <param name="settle">Called once: with 0 when the machine was copied for its forks, else with an error code of
    /// <see cref="ForkPort"/>.</param>
    public void Ask(uint count, Action<uint> settle)
    {
        uint error = _isForbidden ? NotPermitted : _process is not null ? Busy : count == 0 ? Invalid : count > (uint)_left ? TryAgain : 0u;
        if (error != 0)
        {
            settle(ForkPort.Refused | error);
            return;
        }

        IReadOnlyList<string> program = OwnCommandLine.Read().Program;
        try
        {
            string number = count.ToString(CultureInfo.InvariantCulture);
            int pid = ChildProcess.Start(
                program[0], [.. program.Skip(1), "fork", control, "-n", number, "--asked-by-guest"], errors: 2, handOver: 2)
                ?? throw new HostException($"{program[0]}: vmm's own program is gone");
            _process = new FileDescriptor(ErrnoException.Check(LibC.pidfd_open(pid), "pidfd_open"));
            _settle = settle;
            _left -= (int)count;
            _watch = loop.Add(_process.Number, LibC.EPOLLIN, _ => Ended(pid), "fork");
        }
        catch (Exception failure) when (failure is HostException or ErrnoException)
        {
            Stderr.WriteLine($"vmm: a fork that the guest asked for: {Failures.Describe(failure)}");
            settle(ForkPort.Refused | InputOutput);
        }
    }

    /// <summary>The machine was copied for the forks that were asked for.</summary>
    public void Copied() => Settle(0);

    /// <summary>The answer that a fork reads, if the request was pending when the machine was copied.</summary>
    /// <param name="number">The fork's number, from 1.</param>
    /// <param name="isAsked">Did the guest ask for this one?</param>
    public static uint InFork(int number, bool isAsked) => isAsked ? (uint)number : ForkPort.Refused | TryAgain;

    public void Dispose() => Forget();

    private void Ended(int pid)
    {
        Forget();
        ChildProcess.Wait(pid);
        Settle(ForkPort.Refused | InputOutput);     // its message is on standard error
    }

    /// <summary>Answers the pending request.</summary>
    private void Settle(uint result)
    {
        Action<uint>? settle = _settle;
        _settle = null;
        settle?.Invoke(result);
    }

    private void Forget()
    {
        if (_watch is { } watch)
        {
            loop.Remove(watch);
        }

        _watch = null;
        _process?.Dispose();
        _process = null;
    }
}
