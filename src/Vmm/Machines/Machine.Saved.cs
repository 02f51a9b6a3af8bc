using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Kvm;

namespace Vmm.Machines;

/// <summary>Pausing a machine, and saving and restoring its state.</summary>
internal sealed partial class Machine
{
    private bool _isQuiet;

    /// <summary>The state of all parts, without guest memory. Save it after <see cref="TryQuiesce"/>. Load it into a machine of the same
    /// specification whose memory is loaded and that has not run yet.</summary>
    public MachineParts State { get; } = new();

    /// <summary>/dev/kvm.</summary>
    public KvmSystem Kvm => _host.Kvm;

    /// <summary>The saved machine that this one was restored from; null where a kernel was booted.</summary>
    public ISavedMachine? Origin => _host.Saved;

    /// <summary>Makes a machine that continues from a saved state.</summary>
    /// <param name="spec">The saved machine's specification; paths of the host may differ.</param>
    /// <param name="carried">The saved ephemeral overlays; null for none.</param>
    /// <exception cref="StateException">The saved state does not fit the specification or this host.</exception>
    public static Machine Restore(
        MachineSpec spec, ISavedMachine saved, RunObserver? observer = null, CarriedState? carried = null, IMachineGuest? guest = null) =>
        Assemble(spec, HostResources.Open(spec, observer, carried, guest, saved), observer, carried);

    /// <summary>Stops all vCPUs; devices continue. Not from a vCPU's thread.</summary>
    public void Pause() => _vcpus!.TryPause(Timeout.InfiniteTimeSpan);

    /// <summary>Stops the whole machine, so that its state can be saved: no vCPU runs or has anything for KVM to complete, posted
    /// writes are delivered, requests to the host are finished, and the event loop is held, with all timers and limits. Not from a
    /// vCPU's thread or the loop's.</summary>
    /// <param name="patience">For how long the host may take to finish requests in flight.</param>
    /// <returns>False when it took longer, or the machine has ended; the machine then continues.</returns>
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
            _vcpus!.NotifyPaused();
        }

        _devices.ReleasePrograms();
        Loop.Release();
        _vcpus!.Resume();
    }

    /// <summary>Replaces the overlays of ephemeral disks. While the machine is quiesced.</summary>
    /// <param name="overlays">Owned from now on; a disk without one gets an empty overlay.</param>
    /// <exception cref="UsageException">A disk cannot be opened again.</exception>
    public void ReplaceOverlays(CarriedState overlays) => _devices.ReplaceOverlays(overlays);

    /// <summary>Loads the saved state, if there is one; before the guest runs.</summary>
    private void LoadSaved()
    {
        if (_host.Saved is { } saved)
        {
            saved.CheckHost(Vcpus[0].Vcpu, _host.Kvm);
            StateReader.Load(saved.State, "machine", State);
            _vcpus!.NotifyPaused();
            Done("saved state");
        }
    }

    /// <summary>Loads the rest of memory while the guest runs.</summary>
    private void LoadRest(FaultServer server)
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
        server.LoadRest();
    }

    private void DrainConsole()
    {
        Console?.Port.OutputDrained();
        Console?.VirtioPort?.OutputDrained();
    }
}
