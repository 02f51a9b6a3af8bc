using Vmm.Devices.State;
using Vmm.Host;
using Vmm.Kvm;

namespace Vmm.Machines;

/// <summary>A saved machine, from which a new one is restored: it gets this memory and state instead of a kernel.</summary>
internal interface ISavedMachine
{
    /// <summary>The state of <see cref="MachineParts"/>, as it was written.</summary>
    ReadOnlyMemory<byte> State { get; }

    /// <summary>Opens the memory as a file to be mapped, exactly as long as the machine's memory; null where <see cref="ReadMemory"/> is to be
    /// used instead.</summary>
    FileDescriptor? MapMemory();

    /// <summary>Opens a userfaultfd, where memory is to be loaded by a thread on page faults.</summary>
    /// <param name="shared">Other programs map the memory.</param>
    /// <returns>Null where memory is loaded otherwise; if the host does not allow it, the user was told.</returns>
    FileDescriptor? OpenFaults(bool shared) => null;

    /// <summary>Starts to load memory on page faults.</summary>
    /// <param name="faults">As <see cref="OpenFaults"/> gave it; taken over.</param>
    /// <param name="start">Memory of this process that was never accessed.</param>
    /// <param name="length">Bytes; all of the machine's memory.</param>
    /// <exception cref="HostException">The host does not allow it.</exception>
    FaultServer Serve(FileDescriptor faults, nint start, ulong length) => throw new NotSupportedException();

    /// <summary>Reads all of the memory.</summary>
    /// <param name="start">Zeroed memory of this process.</param>
    /// <param name="length">Bytes; all of the machine's memory.</param>
    /// <exception cref="UsageException">The saved memory is damaged.</exception>
    void ReadMemory(nint start, ulong length);

    /// <summary>Checks that this host can run the guest.</summary>
    /// <param name="vcpu">The first vCPU of the new machine.</param>
    /// <exception cref="StateException">The host lacks something; the message names it.</exception>
    void CheckHost(Vcpu vcpu, KvmSystem kvm);
}
