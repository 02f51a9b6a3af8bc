using System.Diagnostics;
using System.Runtime.InteropServices;
using Tmds.Linux;
using Vmm.Host;
using Vmm.Kvm.Abi;

namespace Vmm.Kvm;

/// <summary>The thread that runs one vCPU, and the requests that other threads make of it.</summary>
/// <remarks>
/// A kick must not be lost between looking at the requests and entering KVM_RUN. So: the requester stores the
/// request, sets immediate_exit, then sends the signal; the thread clears immediate_exit, then looks at the
/// requests. The signal stays blocked outside KVM_RUN, hence needs no handler.
/// The loop is compiled for each kind of probe (<see cref="VcpuThread{TProbe}"/>), so that a probe costs nothing where there is
/// none.
/// </remarks>
internal abstract unsafe class VcpuThread : IDisposable
{
    private static int KickSignal => LibC.SIGUSR1;
    private static ulong KickSignalBit => 1UL << (KickSignal - 1);
    private const int StackSize = 512 * 1024;

    private readonly Vcpu _vcpu;
    private readonly ExitHandler _exits;
    private readonly Action<GuestStop> _end;
    private readonly Lock _requesting = new();
    private readonly ManualResetEventSlim _parked = new(false);
    private readonly ManualResetEventSlim _mayRun = new(true);
    private HostThread? _thread;
    private volatile bool _stop;
    private volatile bool _pause;
    private volatile bool _ended;
    private int _tid;

    private protected VcpuThread(Vcpu vcpu, ExitHandler exits, Action<GuestStop> end)
    {
        _vcpu = vcpu;
        _exits = exits;
        _end = end;
    }

    public ExitHandler Exits => _exits;

    public Vcpu Vcpu => _vcpu;

    /// <summary>Runs the vCPU on a thread of its own.</summary>
    /// <param name="begin">The thread enters the guest once this is set, when all threads exist.</param>
    public void Start(ManualResetEventSlim begin)
    {
        _thread = HostThread.Start($"vmm-vcpu{_vcpu.Id}", StackSize, () =>
        {
            begin.Wait();
            Main();
        });
    }

    /// <summary>Runs the vCPU on the calling thread, which saves making one and waiting for it; returns when the vCPU has
    /// ended. The kick signal stays blocked in that thread: one may still be pending.</summary>
    public void RunHere() => Main();

    /// <summary>Asks the thread to end; <see cref="Join"/> waits for it. Any thread.</summary>
    public void RequestStop()
    {
        _stop = true;
        _mayRun.Set();
        Kick();
    }

    /// <summary>Waits for the end of the thread, if it was started.</summary>
    public void Join() => _thread?.Join();

    /// <summary>Asks the thread to wait outside the guest; <see cref="WaitUntilParked"/> says when it does.</summary>
    public void RequestPause()
    {
        lock (_requesting)
        {
            _mayRun.Reset();
            _pause = true;
        }

        Kick();
    }

    /// <returns>False when it was not parked within <paramref name="patience"/>: it waits for a device.</returns>
    public bool WaitUntilParked(TimeSpan patience)
    {
        long start = Stopwatch.GetTimestamp();
        while (!_parked.Wait(TimeSpan.FromMilliseconds(50)))
        {
            if (_ended)
            {
                return true;
            }

            if (patience != Timeout.InfiniteTimeSpan && Stopwatch.GetElapsedTime(start) > patience)
            {
                return false;
            }
        }

        return true;
    }

    public void Resume()
    {
        lock (_requesting)
        {
            _pause = false;
            _mayRun.Set();
        }
    }

    /// <summary>Forces one exit of the vCPU, so that it checks its requests.</summary>
    public void Kick()
    {
        // The request was stored before this barrier; the thread stores its id before it looks at the requests.
        Interlocked.MemoryBarrier();
        if (_ended || Volatile.Read(ref _tid) == 0)
        {
            return;
        }

        _vcpu.RequestExit();
        Interlocked.MemoryBarrier();
        _ = LibC.tgkill(LibC.getpid(), _tid, KickSignal);
    }

    /// <summary>After <see cref="Join"/>.</summary>
    public void Dispose()
    {
        _parked.Dispose();
        _mayRun.Dispose();
    }

    private void Main()
    {
        try
        {
            ulong blocked = BlockKickSignal();
            _vcpu.SetSignalMask(blocked & ~KickSignalBit);
            Interlocked.Exchange(ref _tid, LibC.gettid());
            Loop();
        }
        catch (Exception error)
        {
            _end(GuestStop.HostFailed(error));
        }
        finally
        {
            _ended = true;
        }
    }

    private protected abstract void Loop();

    /// <summary>Runs the guest until it stops, or is to stop.</summary>
    private protected void Loop<TProbe>(TProbe probe)
        where TProbe : struct, IExitProbe
    {
        // Has KVM nothing left to complete of the last exit (what a read found, registers that were changed)? KVM completes it
        // at the next KVM_RUN (KVM API section 5); only then can the state of a parked vCPU be saved.
        bool settled = true;
        probe.Begin();
        while (!_stop)
        {
            bool pausing = _pause;
            if (pausing && settled)
            {
                Park();
                probe.Begin();
                continue;
            }

            if (pausing)
            {
                _vcpu.RequestExit();        // back at once, with EINTR, unless there is another exit first
            }

            int result = _vcpu.Enter();
            probe.Left();
            if (result < 0)
            {
                int errno = Marshal.GetLastPInvokeError();
                switch (errno)
                {
                    case ErrnoException.EINTR:
                        TakeKick();
                        settled = _pause;

                        // A pause is not counted as a sign that the vCPU is stuck: two in a row may find it at the same
                        // instruction.
                        if (!settled && _exits.AfterKick() is { } endAfterKick)
                        {
                            _end(endAfterKick);
                            return;
                        }

                        break;
                    case ErrnoException.EAGAIN:
                        // An application processor during INIT and SIPI: continue the loop.
                        break;
                    default:
                        if (_vcpu.Run->ExitReason == KvmExitReason.KVM_EXIT_MEMORY_FAULT)
                        {
                            goto handle;
                        }

                        _end(GuestStop.HostFailed(new ErrnoException("KVM_RUN", errno)));
                        return;
                }

                probe.Interrupted(errno);
                continue;
            }

        handle:
            settled = false;
            GuestStop? end = _exits.Handle();
            probe.Handled();
            if (end is not null)
            {
                _end(end);
                return;
            }
        }
    }

    private void Park()
    {
        _parked.Set();
        _mayRun.Wait();
        _parked.Reset();
    }

    /// <summary>Consumes the pending signal; otherwise KVM_RUN would return at once for ever.</summary>
    private void TakeKick()
    {
        _vcpu.ClearExitRequest();
        sigset_t kick = default;
        _ = LibC.sigaddset(&kick, KickSignal);
        timespec now = default;

        // SAFETY: both structs are on this stack; no siginfo is asked for.
        _ = LibC.sigtimedwait(&kick, null, &now);
    }

    private static ulong BlockKickSignal()
    {
        sigset_t kick = default, old;
        _ = LibC.sigaddset(&kick, KickSignal);

        // SAFETY: both sets are on this stack.
        if (LibC.PthreadSigmask(LibC.SIG_BLOCK, &kick, &old) is not 0 and int errno)
        {
            throw new ErrnoException("pthread_sigmask", errno);
        }

        return *(ulong*)&old | KickSignalBit;
    }
}

/// <summary>A vCPU's thread with an observer of its exits.</summary>
internal sealed class VcpuThread<TProbe>(Vcpu vcpu, ExitHandler exits, Action<GuestStop> end, TProbe probe)
    : VcpuThread(vcpu, exits, end)
    where TProbe : struct, IExitProbe
{
    private protected override void Loop() => Loop(probe);
}
