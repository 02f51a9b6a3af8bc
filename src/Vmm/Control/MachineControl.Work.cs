using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Control;

/// <summary>Saving, forking and rewinding have in common that the machine, and with it this loop, stands still: that is done on another
/// thread, one at a time.</summary>
internal sealed partial class MachineControl
{
    // Also once the machine has ended, when no answer will come.
    private readonly ManualResetEventSlim _heldOrOver = new();
    private bool _isHeld;

    private void CheckNotSaving()
    {
        if (_isSaving)
        {
            throw new ControlException("not-now", _isGoingBack ? "it goes back to its snapshot" : "it is being saved");
        }

        if (_isForking)
        {
            throw new ControlException("not-now", "it is being forked");
        }
    }

    private void CheckMayBegin()
    {
        CheckNotSaving();
        if (_isPausing || _isStopping)
        {
            throw new ControlException("not-now", _isPausing ? "it is being paused" : "it was asked to end");
        }
    }

    /// <summary>Waits until the guest's agent, if there is one, has all its processes stand still. On the thread of the work.</summary>
    /// <exception cref="HostException">They do not stand still, or the machine has ended.</exception>
    private void HoldGuest()
    {
        if (_guest is null)
        {
            return;
        }

        string? failure = "the machine has ended";
        _machine.Loop.Post(() =>
        {
            _isHeld = true;
            _guest.Hold(why =>
            {
                failure = why;
                _heldOrOver.Set();
            });
        });
        _heldOrOver.Wait();
        if (failure is not null)
        {
            throw new HostException(failure);
        }
    }

    /// <summary>Lets them go on, if they were held. On the loop's thread.</summary>
    /// <param name="hasAsked">A process of the guest's asked for the forks that were made meanwhile.</param>
    private void LetGuestGo(bool hasAsked = false)
    {
        if (_isHeld)
        {
            _isHeld = false;
            _guest!.LetGo(hasAsked);
        }
    }

    /// <summary>Does the work, and then what is to be done about it here.</summary>
    /// <param name="done">With what the work gave, or why it failed.</param>
    private void Begin<T>(string thread, Func<T> work, Action<T?, Exception?> done)
        where T : class
    {
        _heldOrOver.Reset();
        _saving = HostThread.Start(thread, EventLoop.StackSize, () =>
        {
            T? report = null;
            Exception? failure = null;
            try
            {
                report = work();
            }
            catch (Exception error)
            {
                failure = error;
            }

            _machine.Loop.Post(() => done(report, failure));
        });
    }

    private static string Explain(Exception failure) =>
        Failures.IsExpected(failure) ? Failures.Describe(failure) : failure.ToString().ReplaceLineEndings(" ");

    private static double Seconds(TimeSpan time) => Math.Round(time.TotalSeconds, 6);
}
