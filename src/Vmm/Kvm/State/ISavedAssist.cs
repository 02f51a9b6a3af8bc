namespace Vmm.Kvm.State;

/// <summary>What finishes a vCPU's instructions, as far as saved state is concerned: it may keep a value of its own in
/// MSR_LSTAR (PVM hosts), and the state has the guest's. It has nothing else that outlives an exit.</summary>
internal interface ISavedAssist
{
    /// <summary>MSR_LSTAR as the guest wrote it. Between exits, by whoever may use the vCPU then.</summary>
    ulong ReadLstar();

    /// <summary>MSR_LSTAR from a saved state, once the special registers and guest memory are loaded.</summary>
    /// <returns>False where the processor cannot take the value.</returns>
    bool TryWriteLstar(ulong value);

    /// <summary>The vCPU's state was set from outside: nothing that was read before holds, nor has it to be written.
    /// </summary>
    void Forget();
}
