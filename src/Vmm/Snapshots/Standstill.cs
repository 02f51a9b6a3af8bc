using System.Diagnostics;
using Vmm.Host;
using Vmm.Machines;

namespace Vmm.Snapshots;

/// <summary>Stops a machine so that it can be saved, once or several times, and measures how long it stood still.</summary>
/// <param name="patience">For how long the host may take to finish requests in flight.</param>
/// <param name="isPaused">The user had paused it: its vCPUs do not run in between or where something fails.</param>
internal sealed class Standstill(Machine machine, TimeSpan patience, bool isPaused) : IDisposable
{
    private long _begin;
    private bool _isHeld;

    /// <summary>All together.</summary>
    public TimeSpan Total { get; private set; }

    public TimeSpan Longest { get; private set; }

    public int Count { get; private set; }

    /// <exception cref="HostException">The machine has ended, or the host did not finish in time; it goes on.</exception>
    public void Begin()
    {
        _begin = Stopwatch.GetTimestamp();
        if (!machine.TryQuiesce(patience))
        {
            throw new HostException(
                $"the machine has ended, or the host did not finish its requests within {patience.TotalSeconds:0} s",
                "nothing was saved; try again");
        }

        _isHeld = true;
    }

    /// <summary>The machine goes on.</summary>
    /// <param name="stays">But for its vCPUs.</param>
    public void End(bool stays = false)
    {
        Measure();
        if (isPaused || stays)
        {
            machine.Loop.Release();
        }
        else
        {
            machine.Resume();
        }

        _isHeld = false;
    }

    /// <summary>The machine ends instead.</summary>
    public void End(MachineEnd end)
    {
        Measure();
        _isHeld = false;
        machine.End(end);
    }

    /// <summary>The machine goes on where it still stands: something failed.</summary>
    public void Dispose()
    {
        if (_isHeld)
        {
            End();
        }
    }

    private void Measure()
    {
        TimeSpan took = Stopwatch.GetElapsedTime(_begin);
        Total += took;
        Longest = took > Longest ? took : Longest;
        Count++;
    }
}
