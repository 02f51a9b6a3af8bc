using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Kvm;

namespace Vmm.Machines;

/// <summary>A machine that stands still, is saved, and goes on elsewhere.</summary>
internal sealed partial class Machine
{
    private bool _isQuiet;

    /// <summary>All but guest memory, once <see cref="TryQuiesce"/> has it stand still; or to be taken over by a machine
    /// that was built from the same specification and memory has been loaded for, before it runs.</summary>
    public MachineParts State { get; } = new();

    /// <summary>/dev/kvm.</summary>
    public KvmSystem Kvm => _host.Kvm;

    /// <summary>What it went on from; null where a kernel was started.</summary>
    public ISavedMachine? Origin => _host.Saved;

    /// <summary>Makes a machine that goes on where another was saved.</summary>
    /// <param name="spec">As that one's, but for names of the host.</param>
    /// <param name="before">Has the ephemeral overlays that were saved; null for none.</param>
    /// <exception cref="StateException">What was saved is not a machine of this kind, or cannot go on here.</exception>
    public static Machine Restore(
        MachineSpec spec, ISavedMachine saved, RunObserver? observer = null, NextLife? before = null, IMachineGuest? guest = null) =>
        Assemble(spec, HostResources.Open(spec, observer, before, guest, saved), observer, before);

    /// <summary>Brings all vCPUs out of the guest and holds them there; the devices go on. Not from a vCPU's thread.</summary>
    public void Pause() => _vcpus!.TryPause(Timeout.InfiniteTimeSpan);

    /// <summary>Brings the whole machine to a standstill: no vCPU runs and KVM has nothing to complete for any, posted
    /// writes have reached their devices, what the guest asked the host for is done, and the event loop is held, with all
    /// timers and limits. Then its state can be saved. Not from a vCPU's thread or the loop's.</summary>
    /// <param name="patience">For how long the host may take to finish requests in flight.</param>
    /// <returns>False when it took longer, or the machine has ended: all goes on as before.</returns>
    public bool TryQuiesce(TimeSpan patience)
    {
        if (_vcpus!.TryPause(patience))
        {
            _vcpus.Posted?.Deliver();
            if (Loop.TryHold(() => _devices.AreQuiet, patience) && _devices.TryHoldPrograms(patience))
            {
                _isQuiet = true;
                return true;
            }
        }

        Resume();
        return false;
    }

    /// <summary>Ends <see cref="Pause"/> or <see cref="TryQuiesce"/>.</summary>
    public void Resume()
    {
        if (_isQuiet)
        {
            _isQuiet = false;
            _vcpus!.TellPaused();
        }

        _devices.ReleasePrograms();
        Loop.Release();
        _vcpus!.Resume();
    }

    /// <summary>Ephemeral disks have these changes from now on, instead of their own. While it stands still.</summary>
    /// <param name="overlays">Taken over; a disk for which there is none begins anew.</param>
    /// <exception cref="UsageException">A disk cannot be opened again.</exception>
    public void ReplaceOverlays(NextLife overlays) => _devices.ReplaceOverlays(overlays);

    /// <summary>Takes over what was saved, where that is asked for; before the guest runs.</summary>
    private void LoadSaved()
    {
        if (_host.Saved is { } saved)
        {
            saved.CheckHost(Vcpus[0].Vcpu, _host.Kvm);
            StateReader.Load(saved.State, "machine", State);
            _vcpus!.TellPaused();
            Done("saved state");
        }
    }

    /// <summary>While the guest runs.</summary>
    private void ReadOn(FaultServer server)
    {
        Interest? done = null;
        done = Own(new Interest(Loop, server.Done, LibC.EPOLLIN, _ =>
        {
            done!.Dispose();
            if (server.Failure is { } why)
            {
                End(MachineEnd.HostFailed($"{why}; the machine cannot go on without it"));
            }
        }));
        server.ReadOn();
    }

    private void DrainConsole()
    {
        Console?.Port.OutputDrained();
        Console?.VirtioPort?.OutputDrained();
    }
}
