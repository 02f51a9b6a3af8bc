namespace Vmm.Kvm;

/// <summary>What the exit handler needs to know of the assist and of the vCPU's registers.</summary>
internal interface IExitAssist
{
    /// <summary>Finishes the instruction at which KVM's emulator gave up.</summary>
    /// <param name="bytes">Its bytes as far as KVM knows them; may be empty.</param>
    /// <returns>Null when the guest can go on.</returns>
    GuestStop? Complete(ReadOnlySpan<byte> bytes);

    /// <summary>A filtered MSR, described in the shared page. False makes it a #GP.</summary>
    bool HandleMsr(bool isWrite);

    GuestStop? AfterKick();

    /// <summary>For error messages: <c> at RIP 0x..., CR3 ...</c>.</summary>
    string Where();
}
